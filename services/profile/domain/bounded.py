"""Collections that stay small and yet come out the same in whatever order things arrive.

What is kept is decided by the thing itself (its name, or when it was last seen), never by when it arrived.
"""

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from shared.contracts.events import PAGE_VIEWED, SCREEN_VIEWED
from shared.contracts.profile_blob import OVERFLOWED

MAX_NAMES: Final = 64
MAX_IDS: Final = 50
NAME_CHARS: Final = 128

_SPEC: Final = frozenset(
    {
        PAGE_VIEWED, SCREEN_VIEWED, "$identify", "$group", "$alias", "Signed Up", "Signed In", "Unsubscribed",
        "Product Viewed", "Product Clicked", "Product Added", "Product Removed", "Cart Viewed", "Checkout Started",
        "Order Completed", "Completed Order", "Order Updated", "Order Refunded", "Order Cancelled", "Products Searched",
        "Coupon Applied", "Email Opened", "Email Link Clicked", "Application Installed", "Application Opened",
    }
)  # fmt: skip
"""Names that find room before all others."""


def place(name: str, first: frozenset[str]) -> tuple[bool, int, str]:
    """Sort key of a name in the contest for room: the smaller stays. By hash, so that no spelling wins."""
    return (name not in first, crc32(name.encode("utf-8", "surrogatepass")), name)


def count(counts: dict[str, int], name: str, by: int = 1) -> None:
    """Add to the count of `name`, or to OVERFLOWED if 64 others come before it: those have each been counted from their first."""
    name = name[:NAME_CHARS]
    counts[name] = counts.get(name, 0) + by
    if len(counts) > MAX_NAMES:
        names = [other for other in counts if other != OVERFLOWED]
        if len(names) > MAX_NAMES:
            out = max(names, key=lambda other: place(other, _SPEC))
            counts[OVERFLOWED] = counts.get(OVERFLOWED, 0) + counts.pop(out)


def meet(ids: dict[str, int], one: str, at: int) -> bool:
    """Note that `one` was seen at `at`; the 50 last seen are kept. True if it is new and stays."""
    last = ids.get(one)
    if last is not None:
        if at > last:
            ids[one] = at
        return False
    ids[one] = at
    if len(ids) > MAX_IDS:
        oldest = min(ids, key=lambda other: (ids[other], other))
        del ids[oldest]
        return oldest != one
    return True


def meet_all(ids: dict[str, int], others: Iterable[tuple[str, int]]) -> None:
    """`meet` each of `others`, (id, when last seen)."""
    for one, at in others:
        meet(ids, one, at)
