"""One amount is the same number in a profile, in a segment's sum and in ClickHouse, and too large for all three or for none."""

import json

import msgspec
import pytest

from services.profile.domain.money import Fault, Trade, trade
from services.warehouse.domain.amounts import Fault as Unreadable
from services.warehouse.domain.amounts import amount
from shared.contracts.membership_blob import Membership
from shared.contracts.profile_blob import Money
from shared.definitions.numbers import MAX_AMOUNT, SCALE
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.rules.feature import Seen
from shared.rules.watching import take_event

MOST = MAX_AMOUNT // SCALE
RICH = {"did": "Order Completed", "sum": {"of": "revenue", "gte": 1}}


def in_a_profile(sent: object) -> int | None:
    money: dict[str, Money] = {}
    fault = trade(money, Trade.ORDER, msgspec.Raw(json.dumps({"revenue": sent}).encode()))
    assert fault in (None, Fault.AMOUNT)
    return int(money[""].ordered) if fault is None else None


def in_a_segment(sent: object) -> int | None:
    plan = compile_plan([Segment.model_validate({"segment": "rich", "title": {"zh": "a", "en": "b"}, "when": RICH})], "UTC")
    state = Membership()
    seen = Seen(0, plan.calendar.numbers(0), (0, "m", "web"))
    ignored = take_event(plan.events["Order Completed"], state, msgspec.Raw(json.dumps({"revenue": sent}).encode()), seen, None)
    assert ignored == (not state.series)
    return next((pairs[1] for pairs in state.series.values()), None)


def in_clickhouse(sent: object) -> int | None:
    number, fault = amount(json.dumps({"properties": {"revenue": sent}}).encode())
    assert (number is None) == (fault is Unreadable.AMOUNT)
    return number


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        (MOST, MAX_AMOUNT),
        (f"-{MOST}", -MAX_AMOUNT),
        (f"{MOST}.0001", None),
        (MOST + 1, None),
        (-MOST - 1, None),
        (f"{MOST}0", None),
        ("9" * 14, None),
        (10**14, None),
        ("12.34565", 123_456),
        (0.1, 1_000),
    ],
)
def test_an_amount_counts_the_same_everywhere(sent: object, counted: int | None) -> None:
    assert [in_a_profile(sent), in_a_segment(sent), in_clickhouse(sent)] == [counted] * 3


@pytest.mark.parametrize("sent", [13_800_138_000, "13800138000"])
def test_a_telephone_number_where_an_amount_belongs_is_an_amount(sent: object) -> None:
    """The bound keeps sums exact; what is likely in a shop it cannot know."""
    assert [in_a_profile(sent), in_a_segment(sent), in_clickhouse(sent)] == [13_800_138_000 * SCALE] * 3
