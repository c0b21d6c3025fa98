"""What is in hand against a plain list of what is not settled: nothing is passed over, nothing is forgotten, the bounds hold."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.dispatch.class_queue import Bounds, Item
from services.messaging.dispatch.places import Places, Seat
from services.messaging.dispatch.queue import Class, Queue, Reading
from services.messaging.domain.patience import Breaker, Pace, Patience
from tests.unit.dispatcher_world import MAIL, request

BOUNDS = Bounds(hand=3, hand_bytes=250, put_off=4)
PAGE = 4
ACTIONS = ("receive", "receive", "take", "settle", "settle", "put_off", "back", "read", "read")


class Story:
    """A log of messages (some asked for twice), a queue, and what a slot has taken out of it."""

    def __init__(self, log: Sequence[tuple[int, bool]]) -> None:
        self.log = [
            Item(request(n, message_class="transactional" if urgent else "marketing"), at, "u:1", 100) for at, (n, urgent) in enumerate(log)
        ]
        self.queue = Queue({MAIL: BOUNDS})
        self.taken: list[Item] = []
        self.received = 0
        self.now = 0.0
        self.settled: set[str] = set()

    def act(self, action: str, number: int) -> None:
        match action:
            case "receive" if self.received < len(self.log):
                assert self.queue.received(self.received)
                self.queue.add(self.log[self.received])
                self.received += 1
            case "take":
                self._take(1 + number % 3)
            case "settle" if self.taken:
                item = self.taken.pop(number % len(self.taken))
                self.settled.add(item.request.dispatch_id)
                self.queue.settled(item)
            case "put_off" if self.taken:
                self.queue.put_off(self.taken.pop(number % len(self.taken)), self.now + number % 5)
            case "back" if self.taken:
                self.queue.back([self.taken.pop(number % len(self.taken))], last=number % 2 == 0)
            case "read":
                self._read()
            case _:
                self.now += 1

    def _take(self, most: int) -> None:
        for item in self.queue.take(MAIL, most):
            if item.request.dispatch_id in self.settled:  # as the slot finds by its ledger
                self.queue.settled(item)
            else:
                assert item.request.dispatch_id not in {one.request.dispatch_id for one in self.taken}
                self.taken.append(item)

    def _read(self) -> None:
        for one in self.queue.by_line:
            if (reading := self.queue.wanted(one, self.now)) is not None:
                self._take_in(reading)

    def _take_in(self, reading: Reading) -> None:
        found = self.log[reading.start : reading.start + PAGE]
        end = reading.start + len(found)
        if reading.offsets is None:
            self.queue.read_on(reading, found, end)
        else:
            assert self.queue.returned(reading, found, end) == set()

    def check(self) -> None:
        """Whoever starts again at `position` finds a request of each message that is not settled."""
        last = {item.request.dispatch_id: item.offset for item in self.log[: self.received] if item.request.dispatch_id not in self.settled}
        assert self.queue.position <= min(last.values(), default=self.received)
        for queue in self.queue.by_line.values():
            assert queue.in_hand <= 2 * BOUNDS.hand + len(self.log)  # what a caller gives back may be over the bound
            assert queue.put_off_count <= len(self.log)

    def finish(self) -> None:
        """Everything comes at once; then as long as it may take."""
        for _ in self.log:
            self.act("receive", 0)
            self.check()
        for _ in range(10 * len(self.log) + 50):
            self.now += 1
            self._read()
            self._take(3)
            self.act("settle", 0)
            self.check()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=5, max_size=40),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 10)), max_size=80),
)
def test_nothing_unsettled_is_committed_and_everything_has_its_turn(log: list[tuple[int, bool]], actions: list[tuple[str, int]]) -> None:
    story = Story(log)
    for action, number in actions:
        story.act(action, number)
        story.check()
    story.finish()
    assert story.settled == {item.request.dispatch_id for item in story.log}
    assert story.queue.position == (len(log) or -1)
    assert len(story.queue) == 0


def served(rounds: int, ask_again: set[int], urgent: int | None = None) -> Counter[int]:
    """A place for marketing, which three slots always want, and one that is kept. Slots of `ask_again` look up before each place that comes
    free, as if woken by something else; `urgent` always has a transactional message as well. Answers how often each got the place
    for marketing.
    """
    places = Places(2, 1, Breaker(Patience()), Pace())
    seats = [Seat(lambda: None) for _ in range(3)]
    got: Counter[int] = Counter()
    wants = [{Class.MARKETING: 1, Class.TRANSACTIONAL: int(number == urgent)} for number in range(3)]
    for number, seat in enumerate(seats):
        places.ask(seat, wants[number], 0.0)
    for _ in range(rounds):
        for number, seat in enumerate(seats):
            if seat.granted:
                got[number] += seat.granted.get(Class.MARKETING, 0)
                under_way = Counter(seat.granted)
                grant = places.leave(seat)
                for one in under_way:
                    assert grant.pledge(one) is one
                    grant.hand_over(one)
                places.ask(seat, wants[number], 0.0)
                for woken in ask_again:
                    if not seats[woken].granted:
                        places.leave(seats[woken])
                        places.ask(seats[woken], wants[woken], 0.0)
                for one in under_way:
                    places.free(one, 0.0, tried=True)
    return got


@pytest.mark.parametrize("ask_again", [set(), {0}, {0, 1}, {0, 1, 2}])
def test_who_is_woken_before_its_turn_does_not_lose_it(ask_again: set[int]) -> None:
    got = served(90, ask_again)
    assert max(got.values()) - min(got[number] for number in range(3)) <= 1, got


def test_a_slot_whose_transactional_messages_go_first_has_its_turns_for_marketing_too() -> None:
    got = served(90, set(), urgent=0)
    assert max(got.values()) - min(got[number] for number in range(3)) <= 2, got


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6), st.integers(0, 2)), min_size=1, max_size=40), st.integers(1, 4))
def test_places_are_never_granted_twice_and_the_kept_ones_never_to_marketing(steps: list[tuple[bool, int, int]], count: int) -> None:
    places = Places(count, min(1, count - 1), Breaker(Patience()), Pace())
    seats = [Seat(lambda: None) for _ in range(3)]
    held: list[Class] = []
    for urgent, number, seat in steps:
        one = Class.TRANSACTIONAL if urgent else Class.MARKETING
        places.ask(seats[seat], {one: number}, 0.0)
        grant = places.leave(seats[seat])
        while (place := grant.pledge(one)) is not None:
            grant.hand_over(place)
            held.append(place)
        grant.give_back(0.0)
        assert len(held) <= count
        assert held.count(Class.MARKETING) <= max(1, count - 1) or count == 1
        if number % 2 and held:
            places.free(held.pop(0), 0.0, tried=True)
    for place in held:
        places.free(place, 0.0, tried=True)
    assert set(places.used.values()) == {0}
    assert places.count == count
