"""Numbers as shared/definitions/numbers.py reads them, said in SQL: whole ten-thousandths, half to even, from the client's own digits.

ClickHouse's JSON functions give doubles, and text where 64 bits do not hold a number, so no digit may go through them.
"""

from typing import Final

from shared.definitions.numbers import MAX_TEXT, MAX_WHOLE_DIGITS, PLACES
from shared.rules.sql.query import let

_PARTS: Final = r"'^([-+]?)([0-9]+)(?:\\.([0-9]*))?(?:[eE]([-+]?[0-9]{1,3}))?$'"
_MOST: Final = MAX_WHOLE_DIGITS + PLACES
"""Digits before the point of the largest number, in ten-thousandths."""


def scaled(text: str) -> str:
    """`text` in ten-thousandths, NULL if it is no number."""
    parts = f"extractGroups(if(length({text}) <= {MAX_TEXT}, {text}, ''), {_PARTS})"
    digits = "trim(LEADING '0' FROM concat(parts[2], parts[3]))"
    shift = f"toInt32OrZero(trim(LEADING '+' FROM parts[4])) - toInt32(length(parts[3])) + {PLACES}"
    head = f"if(shift < 0, left(digits, greatest(places, 0)), rightPad(digits, greatest(least(places, {_MOST}), 0), '0'))"
    tail = "if(shift < 0 AND places >= 0, substring(digits, places + 1), '')"
    half = "rightPad('5', length(tail), '0')"
    size = f"toInt64OrZero(head) + if(tail = '', 0, if(tail = {half}, modulo(toInt64OrZero(head), 2), tail > {half}))"
    found = f"if(empty(parts) OR (digits != '' AND places > {_MOST}), NULL, if(parts[1] = '-', -1, 1) * ({size}))"
    found = let(found, head=head, tail=tail)
    found = let(found, places="toInt32(length(digits)) + shift")
    return let(let(found, digits=digits, shift=shift), parts=parts)
