"""Cuts the committed slice from the whole Online Retail file: `python -m deploy.demo.make_slice WHOLE.csv.gz`.

Whole customers only (every line of each), so that their segments are those of the whole set. Of each kind of customer
at the end of the data it takes those with the most orders and cancellations per line, because lines are what fills the
file; and some invoices without a customer. The same input gives the same bytes.
"""

import csv
import gzip
import io
import sys
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

from deploy.demo.replay import SLICE
from deploy.demo.retail import COLUMNS, Invoice, read_invoices, read_rows

QUOTAS = {"loyal": 170, "new": 220, "active": 330, "light": 400, "medium": 300, "heavy": 880}
"""Customers of each kind; the first kind that fits a customer counts."""
GUEST_INVOICES = 150
LARGEST_BYTES = 1_500_000


def kind(invoices: list[Invoice], end: datetime) -> str | None:
    """What sort of customer this is at the end of the data; None for one who never bought."""
    bought = [invoice for invoice in invoices if not invoice.is_return]
    if not bought:
        return None
    lately = [invoice for invoice in bought if end - invoice.at < timedelta(days=180)]
    silent = (end - bought[-1].at).days
    if len(lately) >= 5 and sum(invoice.total for invoice in lately) > 500:
        return "loyal"
    if end - bought[0].at < timedelta(days=30):
        return "new"
    return "active" if silent < 30 else "light" if silent < 60 else "medium" if silent < 90 else "heavy"


def choose(invoices: list[Invoice]) -> set[str]:
    """Numbers of the invoices that go into the slice."""
    end = invoices[-1].at
    of_customer: dict[str, list[Invoice]] = defaultdict(list)
    for invoice in invoices:
        if invoice.customer:
            of_customer[invoice.customer].append(invoice)
    of_kind: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for customer, theirs in of_customer.items():
        found = kind(theirs, end)
        if found:
            lines = sum(len(invoice.lines) for invoice in theirs)
            returns = sum(invoice.is_return for invoice in theirs)
            of_kind[found].append((lines / (len(theirs) + 2 * returns), customer))
    chosen = {customer for name, quota in QUOTAS.items() for _, customer in sorted(of_kind[name])[:quota]}
    guests = sorted((len(i.lines), i.number) for i in invoices if not i.customer and not i.is_return and i.total > 0)
    # not the smallest: guests are real baskets too
    some = {number for _, number in guests[len(guests) // 2 :][:GUEST_INVOICES]}
    return some | {invoice.number for customer in chosen for invoice in of_customer[customer]}


def pack(rows: list[list[str]]) -> bytes:
    """The rows as gzip-compressed CSV, without a time stamp in the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Cut and write; says what the slice holds, fails when it is too large."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.demo.make_slice WHOLE.csv.gz")
    rows = list(read_rows(Path(sys.argv[1])))
    chosen = choose(read_invoices(rows))
    kept = [row for row in rows if row[0] in chosen]
    packed = pack(kept)
    customers = len({row[6] for row in kept} - {""})
    print(f"{len(kept)} lines, {len(chosen)} invoices, {customers} customers, {len(packed)} bytes")  # noqa: T201
    if len(packed) > LARGEST_BYTES:
        sys.exit(f"more than {LARGEST_BYTES} bytes: lower the quotas")
    SLICE.write_bytes(packed)


if __name__ == "__main__":
    main()
