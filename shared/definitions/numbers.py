"""Exact numbers: amounts as whole ten-thousandths, never floats.

A client's number, whether a JSON number or a decimal in a JSON string, counts rounded once to four places, half to even.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

PLACES: Final = 4
SCALE: Final = 10**PLACES
MAX_WHOLE_DIGITS: Final = 14
"""A number of more whole digits than this counts as absent: it would not fit 64 bits once scaled."""
MAX_AMOUNT: Final = 10**12 * SCALE
"""An amount beyond ± this many ten-thousandths counts as absent, in profiles, segments and ClickHouse alike.

So 64 bits hold the sum of 900. It says nothing of what is likely: a telephone number sent as `total` is an amount.
"""

MAX_TEXT: Final = 64
"""Characters of the longest text that is read as a number."""
_STEP: Final = Decimal(1).scaleb(-PLACES)
_CONTEXT: Final = Context(prec=MAX_TEXT + MAX_WHOLE_DIGITS, rounding=ROUND_HALF_EVEN, traps=[])
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?", re.ASCII)


def scaled(value: Decimal) -> int | None:
    """`value` in ten-thousandths, rounded half to even; None if it is not finite or too large."""
    if not value.is_finite() or (value and value.adjusted() >= MAX_WHOLE_DIGITS):
        return None
    return int(_CONTEXT.quantize(value, _STEP).scaleb(PLACES, _CONTEXT))


@lru_cache(maxsize=16_384)
def scaled_text(text: str) -> int | None:
    """As `scaled`, of a decimal number in text; None if `text` is none."""
    if len(text) > MAX_TEXT or not _NUMBER.fullmatch(text):
        return None
    return scaled(Decimal(text))


def amount_text(text: str) -> int | None:
    """As `scaled_text`, of an amount: None also beyond MAX_AMOUNT."""
    number = scaled_text(text)
    return None if number is None or not -MAX_AMOUNT <= number <= MAX_AMOUNT else number


def is_too_large(text: str) -> bool:
    """Whether `text` is a decimal number that `scaled_text` takes for absent because of its size."""
    return len(text) <= MAX_TEXT and _NUMBER.fullmatch(text) is not None and scaled_text(text) is None


def fits(value: Decimal) -> bool:
    """Whether `value` can be compared exactly: at most four places, and not too large."""
    number = scaled(value)
    return number is not None and Decimal(number).scaleb(-PLACES, _CONTEXT) == value
