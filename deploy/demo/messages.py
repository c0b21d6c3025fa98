"""Turns invoices into the calls that a shop's Segment SDK would have made. Pure: the same invoices give the same calls.

Every id and amount derives from the file. `customer@example.com` addresses stand for e-mails, of which it has none.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deploy.demo.retail import Invoice

WEEK = timedelta(weeks=1)
HOUR = timedelta(hours=1)
CURRENCY = "GBP"
BROWSING_SHARE = 3
"""One customer in this many looks at products before the first order, and before each that is an hour or more later."""
REFUSING_SHARE = 10
"""One customer in this many does not want e-mail."""
MOST_VIEWS = 5
VIEW_EVERY = timedelta(seconds=40)
CONTEXT = {"library": {"name": "rapport-demo", "version": "1"}}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the tracking API: when it happened, and its body."""

    at: datetime
    body: dict[str, Any]


def weeks_to_now(last: datetime, now: datetime) -> int:
    """The largest number of whole weeks by which the data can be moved with `last` not after `now`."""
    return (now - last) // WEEK


def calls(invoices: Iterable[Invoice], weeks: int) -> Iterator[Call]:
    """All calls, in order of time, for `invoices` in order of time."""
    shift = weeks * WEEK
    made: list[Call] = []
    known: dict[str, datetime] = {}
    for invoice in invoices:
        at = invoice.at + shift
        if invoice.customer and invoice.customer not in known:
            made += _first_visit(invoice, invoice.customer, at)
            known[invoice.customer] = at
        elif invoice.customer and _browses(invoice.customer) and not invoice.is_return and at > known[invoice.customer] + HOUR:
            made += _views(invoice, at, 1, {"userId": invoice.customer})
        made.append(_order(invoice, at))
    # browsing lies before the order it belongs to, so it may belong before calls made earlier; sorting keeps equal times in order
    yield from sorted(made, key=lambda call: call.at)


def _browses(customer: str) -> bool:
    return zlib.crc32(customer.encode()) % BROWSING_SHARE == 0


def _consents(customer: str) -> bool:
    return zlib.crc32(f"consent {customer}".encode()) % REFUSING_SHARE != 0


def _first_visit(invoice: Invoice, customer: str, at: datetime) -> list[Call]:
    """The customer identifies at the first invoice; some have browsed before, under an anonymous id of that invoice."""
    who: dict[str, Any] = {"userId": customer}
    before: list[Call] = []
    if _browses(customer) and not invoice.is_return:
        visitor = f"visitor-{invoice.number}"
        who["anonymousId"] = visitor
        before = _views(invoice, at, MOST_VIEWS, {"anonymousId": visitor})
        first = before[0].at if before else at
        page = {"name": "Shop", "properties": {"path": "/", "title": "Shop"}, "anonymousId": visitor}
        before.insert(0, _call("page", f"page-{invoice.number}", first - VIEW_EVERY, page))
    identify = {
        **who,
        "traits": {"email": f"{customer}@example.com", "country": invoice.country},
        "context": CONTEXT | {"consent": {"categoryPreferences": {"email": _consents(customer)}}},
    }
    return [*before, _call("identify", f"identify-{customer}", at - timedelta(seconds=1), identify)]


def _views(invoice: Invoice, at: datetime, most: int, who: dict[str, Any]) -> list[Call]:
    """Looks at the first products of the invoice, before it."""
    viewed = [line for line in invoice.lines if line.quantity > 0 and float(line.price) > 0][:most]
    return [
        _call(
            "track",
            f"view-{invoice.number}-{number}",
            at - (len(viewed) - number + 1) * VIEW_EVERY,
            {
                **who,
                "event": "Product Viewed",
                "properties": {
                    "product_id": line.stock_code,
                    "sku": line.stock_code,
                    "name": line.description,
                    "price": float(line.price),
                    "currency": CURRENCY,
                },
            },
        )
        for number, line in enumerate(viewed)
    ]


def _order(invoice: Invoice, at: datetime) -> Call:
    """The invoice: `revenue` is its signed total, below zero when money went back."""
    total = float(invoice.total)  # two decimals below 10^13: its shortest text is exact
    products = [
        {
            "product_id": line.stock_code,
            "sku": line.stock_code,
            "name": line.description,
            "price": float(line.price),
            "quantity": line.quantity,
            "position": position,
        }
        for position, line in enumerate(invoice.lines, 1)
    ]
    who = {"userId": invoice.customer} if invoice.customer else {"anonymousId": invoice.number}
    return _call(
        "track",
        f"order-{invoice.number}",
        at,
        {
            **who,
            "event": "Order Refunded" if invoice.is_return else "Order Completed",
            "properties": {
                "order_id": invoice.number,
                "total": total,
                "revenue": total,
                "currency": CURRENCY,
                "country": invoice.country,
                "products": products,
            },
        },
    )


def _call(kind: str, message_id: str, at: datetime, body: dict[str, Any]) -> Call:
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Call(at, {"type": kind, "messageId": message_id, "timestamp": stamp, "context": CONTEXT, **body})
