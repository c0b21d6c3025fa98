"""Orders and what was given back, exactly and by currency.

Order Completed (or its old name Completed Order) counts an order of `revenue`, else of `total`, as the spec says. Order Refunded and
Order Cancelled give back as much, whatever its sign; one that names no amount counts, and takes nothing off.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final

import msgspec

from shared.contracts.profile_blob import Money
from shared.definitions.numbers import amount_text

_INT64: Final = 2**63 - 1
_ABSENT: Final = msgspec.Raw(b"null")

CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE
    CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS
    KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR
    PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD
    TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905  a table of words is easier to read than 155 quoted strings
)
"""ISO 4217. Anything else counts as no currency said, so that there is an end to them."""


class Trade(Enum):
    ORDER = "order"
    REFUND = "refund"
    CANCELLATION = "cancellation"


TRADES: Final = {
    "Order Completed": Trade.ORDER,
    "Completed Order": Trade.ORDER,
    "Order Refunded": Trade.REFUND,
    "Order Cancelled": Trade.CANCELLATION,
}


class Fault(StrEnum):
    """What was sent and could not be used; the names under which a profile counts it."""

    AMOUNT = "amount"
    NO_AMOUNT = "no_amount"
    TRAIT_TOO_LARGE = "trait_too_large"


class _Properties(msgspec.Struct, frozen=True, gc=False):
    revenue: msgspec.Raw = _ABSENT
    total: msgspec.Raw = _ABSENT
    currency: msgspec.Raw = _ABSENT


_decode: Final = msgspec.json.Decoder(_Properties).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def trade(money: dict[str, Money], kind: Trade, properties: msgspec.Raw) -> Fault | None:
    """Count one order, refund or cancellation. Answers what was wrong with its amount."""
    try:
        said = _decode(properties)
    except msgspec.DecodeError:
        said = _Properties()
    amount, fault = _first_amount(bytes(said.revenue), bytes(said.total))
    currency = _currency(bytes(said.currency))
    own = money.get(currency)
    if own is None:
        own = money[currency] = Money()
    match kind:
        case Trade.ORDER:
            own.orders += 1
            own.ordered = add(own.ordered, amount)
            return fault
        case Trade.REFUND:
            own.refunds += 1
        case Trade.CANCELLATION:
            own.cancellations += 1
    own.returned = add(own.returned, abs(amount))
    return fault


def unite(money: dict[str, Money], other: Mapping[str, Money]) -> None:
    """Add the other person's."""
    for currency, theirs in other.items():
        mine = money.setdefault(currency, Money())
        mine.orders += theirs.orders
        mine.refunds += theirs.refunds
        mine.cancellations += theirs.cancellations
        mine.ordered = add(mine.ordered, int(theirs.ordered))
        mine.returned = add(mine.returned, int(theirs.returned))


def add(total: int | str, amount: int) -> int | str:
    """Their sum, as the blob keeps it: text where 64 bits are too few, since msgpack's integers end there."""
    summed = int(total) + amount
    return summed if -_INT64 <= summed <= _INT64 else str(summed)


def _first_amount(*said: bytes) -> tuple[int, Fault | None]:
    fault: Fault | None = Fault.NO_AMOUNT
    for raw in said:
        if raw == b"null":
            continue
        amount = _amount(raw)
        if amount is not None:
            return amount, None
        fault = Fault.AMOUNT
    return 0, fault


def _amount(raw: bytes) -> int | None:
    """A JSON number, or one in a string, in ten-thousandths."""
    if raw[:1] == b'"':
        return amount_text(_decode_text(raw).strip())
    return amount_text(raw.decode())


def _currency(raw: bytes) -> str:
    code = _decode_text(raw).strip().upper() if raw[:1] == b'"' else ""
    return code if code in CURRENCIES else ""
