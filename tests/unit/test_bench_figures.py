"""The calculations of `make bench`: what counts as growing lag, how the rate is searched, what the load consists of."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from deploy.demo.replay import SLICE
from deploy.demo.retail import read_invoices, read_rows
from tests.bench.figures import Figures, Line, lines
from tests.bench.hardware import Hardware
from tests.bench.lag import Sample, behind, growing
from tests.bench.latency import MEMBER, PATIENCE_SECONDS, Latency, Steady, latency
from tests.bench.sustained import FINE, FIRST_RATE, STEP_DOWN, Trial, highest
from tests.bench.system import NotMeasuredError
from tests.bench.workload import LARGEST, NEWCOMER_EVERY, SMALLEST, Shoppers, Templates, templates

STAMP = b"2026-06-01T09:00:00.000Z"


@pytest.fixture(scope="module")
def made() -> Templates:
    return templates(read_invoices(read_rows(SLICE)))


def sampled(lag: Callable[[float], float], seconds: int = 60) -> list[Sample]:
    return [Sample(at / 2, {"folder": int(lag(at / 2)), "resolver": 0}) for at in range(seconds * 2)]


def test_a_lag_that_goes_up_and_down_does_not_grow() -> None:
    assert growing(sampled(lambda at: 2_000 + 400 * (at % 3)), 1_000.0) == {}


def test_a_stage_three_percent_too_slow_falls_behind() -> None:
    grew = growing(sampled(lambda at: 30 * at), 1_000.0)
    assert set(grew) == {"folder"}
    assert grew["folder"] == pytest.approx(1.35, abs=0.1)


def test_a_lag_that_is_worked_off_does_not_grow() -> None:
    assert growing(sampled(lambda at: 60_000 - 900 * at), 1_000.0) == {}


def test_a_glance_passes_what_is_only_a_little_too_slow() -> None:
    assert growing(sampled(lambda at: 60 * at, 15), 1_000.0, glance=True) == {}
    assert set(growing(sampled(lambda at: 300 * at, 15), 1_000.0, glance=True)) == {"folder"}


def test_rows_may_wait_for_the_next_insert_and_no_longer() -> None:
    def waiting(seconds_behind: float) -> list[Sample]:
        return [Sample(at / 2, {"warehouse": int(1_000 * seconds_behind * (at > 60))}) for at in range(120)]

    assert growing(waiting(2.0), 1_000.0) == {}
    assert set(growing(waiting(3.0), 1_000.0)) == {"warehouse"}


def test_few_samples_are_no_measurement() -> None:
    with pytest.raises(NotMeasuredError):
        growing(sampled(lambda at: 0, 1), 1_000.0)


def test_what_is_behind_counts_partitions_without_a_position_of_topics_that_are_read() -> None:
    read = [("a", 0), ("a", 1), ("never", 0)]
    ends = {("a", 0): 10, ("a", 1): 5, ("never", 0): 100}
    assert behind(read, {("a", 0): 8}, ends) == 2 + 5
    assert behind(read, {}, ends) == 115


def trial(rate: float, held: bool) -> Trial:
    return Trial(rate, 100, 10.0, int(rate * 10), {}, 0, {} if held else {"folder": 3.0}, {}, {}, {}, 0.0)


@pytest.mark.parametrize("limit", [180.0, 1_000.0, 7_300.0, 16_000.0])
def test_the_search_finds_the_limit(limit: float) -> None:
    found = highest(lambda rate, _: trial(rate, rate <= limit), lambda _: None)
    assert limit / FINE <= found.rate <= limit


def test_a_rate_that_holds_for_short_only_is_lowered() -> None:
    found = highest(lambda rate, long: trial(rate, rate <= (900 if long else 1_000)), lambda _: None)
    assert FIRST_RATE * STEP_DOWN**2 <= found.rate <= 900


def test_a_system_that_holds_no_rate_is_told() -> None:
    with pytest.raises(NotMeasuredError, match="folder fell behind"):
        highest(lambda rate, _: trial(rate, False), lambda _: None)


def test_a_trial_whose_events_were_not_all_taken_is_not_held() -> None:
    assert trial(1_000.0, True).held
    assert not Trial(1_000.0, 100, 10.0, 9_000, {}, 1_000, {}, {}, {}, {}, 0.0).held
    assert not Trial(1_000.0, 100, 10.0, 10_000, {"503": 1}, 0, {}, {}, {}, {}, 0.0).held


def test_an_unseen_probe_counts_as_long_as_it_was_waited_for() -> None:
    found = latency([0.1] * 98 + [0.2, None])
    assert (found.p50, found.p99, found.highest, found.missing) == (0.1, 0.2, PATIENCE_SECONDS, 1)


def test_events_have_the_wished_size_and_ids_of_their_own(made: Templates) -> None:
    shoppers = Shoppers(made, 7)
    events = [shoppers.event(STAMP) for _ in range(30_000)]
    assert all(SMALLEST <= len(event) <= LARGEST for event in events)
    bodies = [json.loads(event) for event in events]
    assert len({body["messageId"] for body in bodies}) == len(bodies)
    assert Counter(body["type"] for body in bodies).keys() == {"page", "track", "identify"}
    orders = [body for body in bodies if body.get("event") == "Order Completed"]
    assert orders
    assert all(len(body["properties"]["products"]) >= 1 for body in orders)


def test_a_newcomer_is_anonymous_until_the_visit_identifies(made: Templates) -> None:
    shoppers = Shoppers(made, 7, at_once=NEWCOMER_EVERY)
    of: dict[str, list[dict[str, str]]] = {}
    for _ in range(10 * NEWCOMER_EVERY):
        body = json.loads(shoppers.event(STAMP))
        of.setdefault(body["anonymousId"], []).append(body)
    strangers = [calls for calls in of.values() if "userId" not in calls[0]]
    assert len(strangers) == 1
    identified = next(place for place, body in enumerate(strangers[0]) if body["type"] == "identify")
    assert all("userId" not in body for body in strangers[0][:identified])
    assert len({body["userId"] for body in strangers[0][identified:]}) == 1


def test_known_people_come_back_as_the_customers_of_the_orders_did(made: Templates) -> None:
    shoppers = Shoppers(made, 0, shops=2, at_once=1)
    visits: list[str] = []
    for _ in range(400):
        user = json.loads(shoppers.event(STAMP)).get("userId")
        if user is not None and int(user) < 2 * made.customers and user not in visits[-1:]:
            visits.append(user)
    assert [int(user) for user in visits[:6]] == [buyer + shop * made.customers for buyer in made.buyers[:3] for shop in range(2)]


def test_trials_share_known_people_and_no_message_and_no_newcomer(made: Templates) -> None:
    one, two = Shoppers(made, 1, shops=1), Shoppers(made, 2, shops=1)
    first, second = ([json.loads(shoppers.event(STAMP)) for _ in range(20_000)] for shoppers in (one, two))
    assert {body["messageId"] for body in first} & {body["messageId"] for body in second} == set()
    both = {body["anonymousId"] for body in first} & {body["anonymousId"] for body in second}
    assert len(both) > 100
    assert all(int(anonymous[-12:]) < made.customers for anonymous in both)


def steady(segment_p99: float, cpu_us: dict[str, float]) -> Steady:
    seen = Latency(segment_p99 / 2, segment_p99, segment_p99, 100, 0)
    return Steady({MEMBER: seen}, Latency(0.01, 0.02, 0.03, 100, 0), cpu_us)


def told(figures: Figures) -> dict[str, Line]:
    return {line.what.strip().split(",")[0]: line for line in lines(figures)}


MACHINE = Hardware("cpu", 2, 4.0, "Linux", "3.11", 0.0)


def test_a_latency_is_told_in_yardsticks_and_judged_by_them() -> None:
    for p99, reached in ((0.06, True), (0.07, False)):
        segment = told(Figures(MACHINE, 60.0, [], steady=steady(p99, {"kafka": 100.0})))["200 to segment member"]
        assert f"p99 {p99 * 1000:.0f} ms ({p99 / 0.02:.1f})" in segment.found
        assert segment.reached is reached


def test_a_missed_target_says_which_part_is_next_and_how_full_the_machine_was() -> None:
    slow = Trial(5_000.0, 100, 60.0, 300_000, {}, 0, {}, {"folder": 1.0, "warehouse": 4.0}, {"profile": 90.0, "kafka": 210.0}, {}, 40.0)
    dear = steady(0.05, {"kafka": 700.0, "profile": 200.0})
    found = told(Figures(MACHINE, 60.0, [], sustained={100: slow}, steady=dear))
    assert found["why not more"].found == "1.7 of 2 cores are busy; farthest behind: warehouse; kafka is next: 210 of 300 us an event, 70%"
    assert found["CPU us an event"].found == "300: profile 90, kafka 210 (at 1,000/s 900)"
    assert found["CPU us an event at 1"].reached is False
    assert found["why missed"].found == "kafka is next: 700 of 900 us an event, 78%"


def test_a_reached_target_asks_for_nothing() -> None:
    found = told(Figures(MACHINE, 60.0, [], steady=steady(0.05, {"kafka": 100.0})))
    assert "why missed" not in found
