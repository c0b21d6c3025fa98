"""Reads the Online Retail order lines: a CSV, plain or gzip, with the columns of COLUMNS, in order of time."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from sys import intern

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice; `price` as the digits of the file, in pounds."""

    stock_code: str
    description: str
    quantity: int
    price: str


@dataclass(slots=True)
class Invoice:
    """One invoice: `at` is the time of its first line (the file names no zone; read as UTC). `customer` None: a guest."""

    number: str
    at: datetime
    customer: str | None
    country: str
    lines: list[Line] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        """Pounds, exact, rounded half up to the cent once for the whole invoice; below zero for a cancellation."""
        exact = sum((line.quantity * Decimal(line.price) for line in self.lines), Decimal(0))
        return exact.quantize(CENT, ROUND_HALF_UP)

    @property
    def is_return(self) -> bool:
        """Whether money went back: a cancellation (number C…), or an adjustment below zero."""
        return self.number.startswith("C") or self.total < 0


class NotRetailError(ValueError):
    """The file is not the Online Retail CSV; the message says what is wrong."""


def read_rows(path: Path) -> Iterator[list[str]]:
    """The rows after the header, as they stand. Raises NotRetailError on another header, OSError on an unreadable file."""
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if zipped else open(path, "rb") as binary:
        rows = csv.reader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        header = tuple(next(rows, ()))
        if header != COLUMNS:
            raise NotRetailError(f"{path} does not begin with the columns {', '.join(COLUMNS)}")
        yield from rows


def read_invoices(rows: Iterable[list[str]]) -> list[Invoice]:
    """All invoices, by time, then by number. Lines of one invoice need not stand together."""
    found: dict[str, Invoice] = {}
    for number, stock_code, description, quantity, date, price, customer, country in rows:
        at = datetime.fromisoformat(date).replace(tzinfo=UTC)
        invoice = found.get(number)
        if invoice is None:
            invoice = found[number] = Invoice(number, at, customer.removesuffix(".0") or None, intern(country))
        invoice.at = min(invoice.at, at)
        invoice.lines.append(Line(intern(stock_code), intern(description), int(quantity), intern(price)))
    return sorted(found.values(), key=lambda invoice: (invoice.at, invoice.number))
