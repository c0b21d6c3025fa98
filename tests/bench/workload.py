"""What the load consists of: the demo's real orders and page views, as a browser SDK would send them, 660 to 976 bytes each.

Templates hold four places, filled for each event: message id, time, anonymous id, user id. Known people come back as often, and as soon,
as the customers of the real orders did, in many shops side by side; one visit in ten is somebody new, who is known by an anonymous id
first and identifies in mid-visit.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from deploy.demo.messages import calls
from deploy.demo.retail import Invoice

SMALLEST, LARGEST = 660, 976
"""Bytes of an event, as in the figures it is compared with."""
SHOPS = 44
"""Of the demo's 2,300 customers each: some 100,000 people who are known from the first visit on."""
VISITS_A_TRIAL = 20_000
"""So much further in the orders' sequence each trial begins."""
NEWCOMER_EVERY = 10
AT_ONCE = 2_000
"""Visits that go on at the same time: a batch holds as many people as events."""
EACH_KIND = 400
STEP = 61
"""Bytes from one template's wished size to the next one's: sizes are spread evenly."""
BUYER = ("page", "view", "page", "view", "identify", "view", "view", "view", "page", "order")
LOOKER = ("page", "view", "page", "view", "view", "page", "view", "view", "page", "view")
_BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
_STRETCH = "".join(chr(ord("a") + n % 26) for n in range(LARGEST))
SEARCH = ',"search":"?gclid="'
_PLACES = {"messageId": "x" * 36, "timestamp": "x" * 24, "anonymousId": "x" * 36, "userId": "x" * 8}


@dataclass(frozen=True)
class Templates:
    """`%`-templates by kind (page, view, identify, order): of somebody known, and of somebody who is not yet.

    `buyers`: who made each order, in the order of time, as numbers from 0 to `customers` - 1.
    """

    known: dict[str, list[bytes]]
    unknown: dict[str, list[bytes]]
    buyers: list[int]
    customers: int


def templates(invoices: Iterable[Invoice]) -> Templates:
    """Templates of the first EACH_KIND calls of each kind that fit. Raises ValueError when a kind does not occur."""
    invoices = list(invoices)
    known: dict[str, list[bytes]] = {kind: [] for kind in sorted({*BUYER, *LOOKER})}
    unknown: dict[str, list[bytes]] = {kind: [] for kind in known}
    for body in _bodies(invoices):
        kind = _kind(body)
        for found, is_known in ((known, True), (unknown, False)):
            wished = SMALLEST + len(found[kind]) * STEP % (LARGEST - SMALLEST)
            if len(found[kind]) < EACH_KIND and (made := _template(body, is_known, wished)) is not None:
                found[kind].append(made)
    missing = [kind for kind, found in (*known.items(), *unknown.items()) if not found]
    if missing:
        raise ValueError(f"the orders make no events of {SMALLEST} to {LARGEST} bytes of the kinds {missing}")
    numbers: dict[str, int] = {}
    buyers = [numbers.setdefault(one.customer, len(numbers)) for one in invoices if one.customer is not None and not one.is_return]
    return Templates(known, unknown, buyers, len(numbers))


def _bodies(invoices: Iterable[Invoice]) -> Iterator[dict[str, Any]]:
    """Calls of baskets cut to sizes that fit, and a page for each product viewed."""
    small = [replace(invoice, lines=invoice.lines[: 1 + number % 3]) for number, invoice in enumerate(invoices)]
    for call in calls(small, 0):
        body = call.body
        if body.get("event") == "Order Refunded":
            continue
        yield body
        if body.get("event") == "Product Viewed":
            seen = body["properties"]
            path = f"/product/{seen['sku']}"
            page = {"path": path, "title": seen["name"], "url": f"https://shop.example.com{path}", "referrer": "https://shop.example.com/"}
            yield {"type": "page", "name": "Product", "properties": page}


def _kind(body: dict[str, Any]) -> str:
    return {"Product Viewed": "view", "Order Completed": "order"}.get(body.get("event", ""), str(body["type"]))


def _template(body: dict[str, Any], is_known: bool, wished: int) -> bytes | None:
    """The body with what a browser adds, of at least `wished` bytes; None if it becomes too large."""
    own = {name: value for name, value in body.items() if name not in (*_PLACES, "context", "type")}
    if "traits" in own:  # one address a person, so that nobody is joined with anybody else
        own["traits"] = own["traits"] | {"email": "<user>@example.com"}
    places = [name for name in _PLACES if is_known or name != "userId"]
    page = {"path": "/", "url": "https://shop.example.com/", "referrer": "https://search.example.com/", "title": "Shop"}
    context = {
        "library": {"name": "analytics.js", "version": "next-1.84.0"},
        "userAgent": _BROWSER,
        "locale": "en-GB",
        "timezone": "Europe/London",
        "page": page,
        **{name: value for name, value in body.get("context", {}).items() if name == "consent"},
    }
    made = {"type": body["type"], **dict.fromkeys(places, "%s"), **own, "context": context}
    missing = wished - _size(made)
    if missing > 0:  # what campaigns append to an address
        page["search"] = f"?gclid={_STRETCH[: max(0, missing - len(SEARCH))]}"
    size = _size(made)
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":")).replace("%", "%%").replace("%%s", "%s").replace("<user>", "%s")
    return text.encode() if SMALLEST <= size <= LARGEST else None


def _size(made: dict[str, Any]) -> int:
    filled = made | {name: value for name, value in _PLACES.items() if name in made}
    text = json.dumps(filled, ensure_ascii=False, separators=(",", ":")).replace("<user>", _PLACES["userId"])
    return len(text.encode())


@dataclass(slots=True)
class Visit:
    """One person's way through a script, until which they are unknown."""

    script: tuple[str, ...]
    anonymous: bytes
    user: bytes
    known: bool
    at: int = 0


class Shoppers:
    """Everybody who visits in one trial, many at a time. `trial` (0 to 999) sets newcomers and message ids apart from other trials'."""

    def __init__(self, made: Templates, trial: int, shops: int = SHOPS, at_once: int = AT_ONCE) -> None:
        self._made, self._trial, self._shops = made, trial, shops
        self._message = b"00000000-0%03d-4000-8000-" % trial + b"%012d"
        self._visits = 0
        self._events = 0
        self._going = deque(self._visit() for _ in range(at_once))

    def _visit(self) -> Visit:
        number = self._visits
        self._visits += 1
        if number % NEWCOMER_EVERY == NEWCOMER_EVERY - 1:
            who, known, script = 10_000_000 + 1_000_000 * self._trial + number, False, BUYER
        else:
            turn = self._trial * VISITS_A_TRIAL + number - number // NEWCOMER_EVERY  # of known people's visits
            order, shop = divmod(turn, self._shops)
            buyer = self._made.buyers[order % len(self._made.buyers)]
            who, known = shop * self._made.customers + buyer, True
            script = BUYER if (order + shop) % 2 else LOOKER
        return Visit(script, b"a0000000-0000-4000-8000-%012d" % who, b"%08d" % who, known)

    def batch(self, size: int, stamp: bytes) -> bytes:
        """The body of POST /v1/batch with the next `size` events; `stamp` is their time, as JSON has it."""
        event = self.event
        return b'{"batch":[%s],"sentAt":"%s"}' % (b",".join([event(stamp) for _ in range(size)]), stamp)

    def event(self, stamp: bytes) -> bytes:
        """The next event of the next visit."""
        going = self._going
        visit = going.popleft()
        kind = visit.script[visit.at]
        visit.at += 1
        self._events = number = self._events + 1
        going.append(visit if visit.at < len(visit.script) else self._visit())
        message = self._message % number
        if kind == "identify":
            visit.known = True
            of_kind = self._made.known[kind]
            return of_kind[number % len(of_kind)] % (message, stamp, visit.anonymous, visit.user, visit.user)
        if visit.known:
            of_kind = self._made.known[kind]
            return of_kind[number % len(of_kind)] % (message, stamp, visit.anonymous, visit.user)
        of_kind = self._made.unknown[kind]
        return of_kind[number % len(of_kind)] % (message, stamp, visit.anonymous)
