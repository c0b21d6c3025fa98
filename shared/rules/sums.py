"""Sums that do not fit 64 bits, exactly.

A bucket whose sum is out of range is no longer in its series, so every window takes it for absent; its sum goes on in
`Membership.beyond`, as text, and comes back when it fits again. So what is kept follows from the events alone, in whatever order
they came.
"""

from shared.contracts.membership_blob import Membership
from shared.rules.pairs import MAX_TOTAL, Combine, add


def add_sum(state: Membership, series: str, bucket: int, value: int) -> bool:
    """Add `value` to a bucket of the sums `series`. False if the bucket is out of range now, and so counts as absent."""
    beyond = state.beyond.get(series)
    if beyond is not None and str(bucket) in beyond:
        value += int(beyond.pop(str(bucket)))
        if not beyond:
            del state.beyond[series]
    elif (pairs := state.series.get(series)) is not None:
        add(pairs, bucket, value, Combine.ADD)
        if -MAX_TOTAL <= pairs[-1] <= MAX_TOTAL and pairs[-2] == bucket:
            return True  # nearly always
        place = 2 * pairs[::2].index(bucket)
        value = pairs[place + 1]
        if -MAX_TOTAL <= value <= MAX_TOTAL:
            return True
        del pairs[place : place + 2]
        if not pairs:
            del state.series[series]
    if -MAX_TOTAL <= value <= MAX_TOTAL:
        add(state.series.setdefault(series, []), bucket, value, Combine.ADD)
        return True
    state.beyond.setdefault(series, {})[str(bucket)] = str(value)
    return False


def unite_sums(into: Membership, other: Membership, series: str) -> None:
    """Add all buckets of `other`'s sums `series` to `into`'s."""
    pairs = other.series.get(series, [])
    for place in range(0, len(pairs), 2):
        add_sum(into, series, pairs[place], pairs[place + 1])
    for bucket, total in other.beyond.get(series, {}).items():
        add_sum(into, series, int(bucket), int(total))


def prune_beyond(state: Membership, series: str, lowest: int) -> int | None:
    """Drop every bucket below `lowest`; answers the first that is left."""
    beyond = state.beyond.get(series)
    if beyond is None:
        return None
    for bucket in [bucket for bucket in beyond if int(bucket) < lowest]:
        del beyond[bucket]
    if beyond:
        return min(map(int, beyond))
    del state.beyond[series]
    return None
