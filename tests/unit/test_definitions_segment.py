"""Segment files: what is expected, said with file, line and path."""

import json
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.contracts.membership_blob import Value
from shared.definitions.conditions import condition_test
from shared.definitions.durations import Duration
from shared.definitions.kinds import KINDS
from shared.definitions.models import read
from shared.definitions.numbers import PLACES, scaled, scaled_text
from shared.definitions.rules import Condition
from shared.definitions.schema import schema_files
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError, parse

HEAD = "segment: x\ntitle: {zh: 测试, en: test}\n"


def problems(text: str) -> list[str]:
    try:
        read(parse(text, "a.yaml"), Segment)
    except DefinitionError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("  did: A\n  withn: 30d", "a.yaml:5: when.withn: unknown key 'withn' (did you mean 'within'?); expected: "),
        ("  did: A\n  within: 30", "a.yaml:5: when.within: expected a duration such as 30d, 12h or 45m (found 30)"),
        ("  did: A\n  within: 0d", "a.yaml:5: when.within: expected a duration"),
        ("  did: A\n  between: [30d, 60d]", "a.yaml:3: when: expected `between: [older, newer]`"),
        ("  did: A\n  between: [1000h, 30d]", "a.yaml:3: when: expected whole days in a window that reaches back 1000h"),
        ("  did: A\n  between: [2d, 90m]", "a.yaml:3: when: expected whole hours in a window that reaches back 2d (found 90m)"),
        ("  did: A\n  within: 1d\n  between: [2d, 1d]", "a.yaml:3: when: expected `within` or `between`, not both"),
        ("  did: A\n  count: {gte: 1}\n  sum: {of: b, gte: 1}", "a.yaml:3: when: expected one aggregate, found count, sum"),
        ("  did: A\n  count: {}", "a.yaml:5: when.count: expected at least one of gte, lte, gt, lt, eq"),
        ("  did: A\n  count: {gte: -1}", "a.yaml:5: when.count.gte: "),
        ("  did: A\n  sum: {gte: 1}", "a.yaml:5: when.sum.of: is missing"),
        ("  did: A\n  sum: {of: b, gte: 0.12345}", "a.yaml:5: when.sum.gte: expected a number of at most 14 digits and four decimal"),
        ("  did: A\n  sum: {of: b, gte: '1'}", "a.yaml:5: when.sum.gte: expected a number (found '1')"),
        ("  did: A\n  where: {'products[].category': b}", "a.yaml:5: when.where.products[].category"),
        ("  did: A\n  where:\n    coupon: {}", "a.yaml:6: when.where.coupon: expected at least one of is, is_not"),
        ("  did: A\n  where:\n    coupon: [a]", "a.yaml:6: when.where.coupon: "),
        ("  did: ''", "a.yaml:4: when.did: "),
        ("  first: A", "a.yaml:3: when: expected `within` or `between`"),
        ("  trait: 'a\\b'\n  is: c", "a.yaml:4: when.trait: "),
        ("  did: A\n  where: {'a\"b': c}", 'a.yaml:5: when.where.a"b'),
        ("  trait: a", "a.yaml:3: when: expected at least one of is, is_not, in, exists"),
        ("  trait: a\n  in: []", "a.yaml:5: when.in: expected a list of 1 to 1000 values"),
        ("  all:\n    - did: A\n    - any:\n        - none: []", "a.yaml:7: when.all[1].any[0].none: expected a list of at least one rule"),
        ("  all:\n    - did: A\n    - foo: B", "a.yaml:6: when.all[1]: expected a rule with exactly one of did, did_not,"),
        ("  did: A\n  trait: b", "a.yaml:3: when: expected a rule with exactly one of"),
        ("  did: A\n  count: {gte: 5, lt: 3}", "a.yaml:5: when.count: can never hold: no count fulfils gte 5 and lt 3 together"),
        ("  did: A\n  count: {gt: 4, lt: 5}", "a.yaml:5: when.count: can never hold: no count fulfils gt 4 and lt 5"),
        ("  did: A\n  count: {lt: 0}", "a.yaml:5: when.count: can never hold: no count fulfils lt 0"),
        ("  did: A\n  count: {eq: 3, gte: 4}", "a.yaml:5: when.count: can never hold: no count fulfils gte 4 and eq 3"),
        ("  did_not: A\n  count: {lte: 3, gt: 3}", "a.yaml:5: when.count: can never hold: no count fulfils lte 3 and gt 3"),
        ("  did_not: A\n  count: {gte: 0}", "a.yaml:3: when: can never hold: every count fulfils gte 0, and `did_not` is the opposite"),
        ("  did: A\n  sum: {of: b, gt: 9.5, lte: 9.5}", "a.yaml:5: when.sum: can never hold: no number fulfils lte 9.5 and gt 9.5"),
        ("  did: A\n  max: {of: b, gt: 1, lt: 1.0001}", "a.yaml:5: when.max: can never hold: no number fulfils gt 1 and lt 1.0001"),
        ("  did: A\n  max: {of: b, gt: 1000000000000}", "a.yaml:3: when: can never hold: a value beyond ±1000000000000 counts as absent"),
        ("  did: A\n  min: {of: b, lt: -1000000000000}", "a.yaml:3: when: can never hold: a value beyond"),
        ("  did: A\n  where:\n    p: {gt: 5, lt: 5}", "a.yaml:6: when.where.p: can never hold: no value fulfils gt and lt together"),
        ("  did: A\n  where:\n    p: {is: a, is_not: a}", "a.yaml:6: when.where.p: can never hold: no value fulfils is and is_not"),
        ("  first: A\n  within: 2d\n  where:\n    p: {is: a, gt: 5}", "a.yaml:7: when.where.p: can never hold: no value fulfils is and gt"),
        ("  trait: a\n  in: [a, b]\n  is: c", "a.yaml:3: when: can never hold: no value fulfils is and in together"),
        ("  trait: a\n  in: [1, '2']\n  gte: 3", "a.yaml:3: when: can never hold: no value fulfils in and gte together"),
        ("  trait: a\n  is: '5'\n  is_not: 5", "a.yaml:3: when: can never hold: no value fulfils is and is_not together"),
        ("  trait: a\n  exists: false\n  is: a", "a.yaml:3: when: can never hold: no value fulfils is and exists together"),
        ("  trait: a\n  exists: false\n  lt: 3", "a.yaml:3: when: can never hold: no value fulfils exists and lt together"),
        ("  trait: a\n  gte: 3\n  lte: 3\n  is_not: 3", "a.yaml:3: when: can never hold: no value fulfils is_not and gte and lte"),
        ("  none:\n    - {trait: a, gt: 5, lt: 3}", "a.yaml:5: when.none[0]: can never hold: no value fulfils gt and lt together"),
    ],
)
def test_a_wrong_rule_is_named_with_line_path_and_what_was_expected(rule: str, expected: str) -> None:
    found = problems(f"{HEAD}when:\n{rule}\n")
    assert any(one.startswith(expected) for one in found), found


@pytest.mark.parametrize(
    "rule",
    [
        "did: A, count: {gte: 3, lte: 3, eq: 3}",
        "did: A, count: {lte: 0}",
        "did_not: A, count: {gte: 1}",
        "did: A, sum: {of: b, gt: -1, lt: 0}",
        "did: A, sum: {of: b, gt: 2000000000000}",
        "did: A, max: {of: b, gte: 1000000000000}",
        "did: A, max: {of: b, gt: 1, lt: 1.0002}",
        "trait: a, is: 5, in: ['5', b]",
        "trait: a, is: '5', in: [5]",
        "trait: a, is: '5', gt: 4.5, exists: true",
        "trait: a, is: 5, is_not: '5'",
        "trait: a, is_not: a, exists: false",
        "trait: a, gte: 3, is_not: 3",
        "trait: a, lte: 3, is_not: 3",
        "trait: a, in: [a, 7], gte: 7, lte: 7",
        "trait: a, is: false, is_not: 0",
    ],
)
def test_a_rule_that_one_value_fulfils_is_none_that_can_never_hold(rule: str) -> None:
    assert problems(f"{HEAD}when: {{{rule}}}\n") == []


LITERALS = st.sampled_from(["5", "5.0", "6", "a", "", True, False, 5, 6, Decimal("5.5")])
NUMBERS = st.sampled_from([5, 6, 7, Decimal("5.5")])
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "is": LITERALS,
        "is_not": LITERALS,
        "in": st.lists(LITERALS, min_size=1, max_size=3),
        "exists": st.booleans(),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), NUMBERS),
    },
).filter(bool)
VALUES: list[Value] = [
    None,
    True,
    False,
    *range(40_000, 80_000, 5_000),
    50_001,
    55_001,
    "5",
    "5.0",
    "5.00",
    "6",
    "7",
    "6.5",
    "5.5",
    "a",
    "",
    "z",
]


@given(CONDITIONS)
def test_conditions_that_are_refused_hold_for_no_value_and_others_hold_for_some(words: dict[str, Any]) -> None:
    unchecked = {f"{name}_" if name in ("is", "in") else name: _exact(value) for name, value in words.items()}
    holds = condition_test(Condition.model_construct(**unchecked))
    try:
        Condition.model_validate(words)
        refused = False
    except ValidationError:
        refused = True
    assert refused is not any(holds(value) for value in VALUES)


def _exact(value: object) -> Any:
    if isinstance(value, list):
        return tuple(map(_exact, value))
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("{name: a, now: 2026-06-01T09:00:00, given: [], expect: in}", "tests[0].now: "),
        ("{name: a, now: 2026-06-01T09:00:00Z, given: [], expect: maybe}", "tests[0].expect: "),
        ("{name: a, now: 2026-06-01T09:00:00Z, expect: in}", "tests[0]: expected `given` or `same_as`"),
        ("{name: a, now: 2026-06-01T09:00:00Z, same_as: b, expect: in}", "test 'a': `same_as` must name a test with `given`"),
        ("{name: a, now: 2026-06-01T09:00:00Z, expect: in, given: [{at: 2026-06-02T09:00:00Z, track: A}]}", "to happen by `now`"),
        ("{name: a, now: 2026-06-01T09:00:00Z, expect: in, given: [{at: 2026-06-01T09:00:00Z}]}", "expected exactly one of track, page"),
        ("{name: a, now: 2026-06-01T09:00:00Z, expect: in, given: [{at: 5, track: A}]}", "expected a time with its offset"),
    ],
)
def test_a_wrong_test_is_named(test: str, expected: str) -> None:
    found = problems(f"{HEAD}when: {{did: A}}\ntests:\n  - {test}\n")
    assert any(expected in one and one.startswith(("a.yaml:5", "a.yaml:1")) for one in found), found


def test_all_problems_of_a_file_are_told_at_once() -> None:
    assert len(problems("segment: X\nwhen:\n  all:\n    - did: A\n      within: x\n    - nothing: here\n")) == 4


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**14) + 1, max_value=10**14 - 1))
def test_scaled_numbers_are_the_number_rounded_once(value: Decimal) -> None:
    number = scaled(value)
    assert number is not None
    distance = abs(Decimal(number) - value * 10**PLACES)
    assert distance <= Decimal("0.5")
    assert distance < Decimal("0.5") or number % 2 == 0


@given(
    st.one_of(
        st.integers(-(10**13), 10**13), st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12)
    )
)
def test_a_number_in_text_is_the_number(value: Decimal | int) -> None:
    assert scaled_text(str(value)) == scaled(Decimal(value)) == int(Decimal(value) * 10**PLACES)


@pytest.mark.parametrize("text", ["", "abc", "1e999999999", "NaN", "-Infinity", "1_000", "１", " 1", "1 ", "1" * 15, "0x1", "1e15", "--1"])
def test_what_is_no_exact_number_is_none(text: str) -> None:
    assert scaled_text(text) is None


def test_durations_are_whole_minutes_hours_or_days() -> None:
    assert [Duration.parse(text).ms for text in ("1m", "2h", "3d")] == [60_000, 7_200_000, 259_200_000]
    assert [str(Duration.parse(text)) for text in ("90m", "48h", "30d")] == ["90m", "2d", "30d"]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("when: {did: A, within: 30d, count: {gte: 5}, where: {coupon: x, price: {gte: 0.5}}}", True),
        ("when: {all: [{trait: email, exists: true}, {any: [{last: A, between: [60d, 30d]}]}]}", True),
        ("when: {did: A, within: 30x}", False),
        ("when: {did: A, withn: 30d}", False),
        ("when: {all: []}", False),
    ],
)
def test_the_json_schema_says_what_the_models_say(text: str, valid: bool) -> None:
    schema = json.loads(schema_files(KINDS, ())["segment.schema.json"])
    document = parse(HEAD + text, "a.yaml").data
    plain = json.loads(json.dumps(document, default=float))
    assert jsonschema_rs.validator_for(schema).is_valid(plain) is valid
    assert (problems(HEAD + text) == []) is valid
