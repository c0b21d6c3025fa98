"""The ledger in memory is small, forgets by the day and comes back from its checkpoints; it knows each message as a full history does."""

import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.messaging.domain.ledger import MOST_SAVED, Ledger, bounded, entry_of, resume
from services.messaging.domain.packed import PackedIds
from shared.contracts.changes import MessageStatus
from shared.contracts.headers import Cause
from shared.contracts.ledger import CHECKPOINT_DECODER, CHECKPOINT_ENCODER, LONGEST_EXPIRY_MS, Checkpoint, LedgerEntry
from shared.definitions.durations import DAY_MS
from tests.unit.dispatcher_world import NOW, request

BYTES_AN_ID = 40
"""Ten million live ids in 400 MB."""

GROW = """
import gc, os, sys
from tests.unit.test_dispatcher_ledger import ends
from services.messaging.domain.ledger import MOST_SAVED, Ledger

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

count = int(sys.argv[1])
warm = Ledger()
for entry in ends(1000): warm.apply(entry)
ledger = Ledger()
gc.collect()
before = resident()
for entry in ends(count):
    ledger.apply(entry)
    if ledger.unsaved >= MOST_SAVED: ledger.checkpoint(0, count)
assert len(ledger) == count
print((resident() - before) / count, ledger.size / count)
"""


def ends(count: int) -> Iterator[LedgerEntry]:
    """Messages sent, asked for over a month, each with the longest expiry."""
    spread = 31 * DAY_MS // count
    base = entry_of(request(0), 0, MessageStatus.SENT, NOW, "u:1", 1)
    for number in range(count):
        at = NOW + number * spread
        key = f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
        cause = f"journeys|rapport.event.resolved.v1|{number % 8}|{number}|0"
        yield msgspec.structs.replace(base, dispatch_id=key, at=at, position=number, expires_at=at + LONGEST_EXPIRY_MS, cause=cause)


def test_a_million_live_messages_cost_less_than_40_bytes_each() -> None:
    """Every byte that the process has more, also what an allocator wastes."""
    done = subprocess.run([sys.executable, "-c", GROW, "1000000"], capture_output=True, text=True, check=True)
    resident, said = map(float, done.stdout.split())
    assert resident < BYTES_AN_ID, done.stdout
    assert resident * 0.6 < said < resident * 1.4, "the figure of the metric is that of the process"


def end(number: int, *, at: int = NOW, expires_in: int = DAY_MS, status: MessageStatus = MessageStatus.SENT) -> LedgerEntry:
    asked = request(number, expires_at=NOW + expires_in)
    return entry_of(asked, number, status, at, "u:1", 1, Cause("journeys", "t", 0, number, 0).encode().decode())


def test_an_id_is_forgotten_a_day_after_the_day_on_which_it_expires_and_no_sooner() -> None:
    ledger = Ledger()
    ledger.apply(end(1, expires_in=5 * DAY_MS))
    last_day = (NOW + 5 * DAY_MS) // DAY_MS
    assert ledger.forget((last_day + 2) * DAY_MS - 1, settled_to=2) == 0
    assert ledger.is_settled(f"{1:032x}")
    assert ledger.forget((last_day + 2) * DAY_MS, settled_to=2) == 1
    assert not ledger.is_settled(f"{1:032x}")
    assert ledger.was_settled(end(1).cause)
    assert not ledger.was_settled(end(2).cause)
    assert len(ledger) == 0


def test_what_stands_behind_an_unsettled_request_is_remembered_until_that_is_settled() -> None:
    """Else nothing would tell of the later one that it was here, and of the earlier one that it was not."""
    ledger = Ledger()
    ledger.apply(end(7))
    assert ledger.forget(NOW + 9 * DAY_MS, settled_to=3) == 0
    assert not ledger.was_settled(end(3).cause)
    assert ledger.is_settled(f"{7:032x}")
    assert ledger.forget(NOW + 9 * DAY_MS, settled_to=8) == 1
    assert ledger.was_settled(end(3).cause)


def test_entries_of_earlier_releases_are_kept_for_the_longest_expiry() -> None:
    entry = msgspec.structs.replace(end(1), expires_at=None, cause=None)
    ledger = Ledger()
    ledger.apply(entry)
    assert ledger.forget(NOW + LONGEST_EXPIRY_MS, settled_to=2) == 0
    assert ledger.forget(NOW + LONGEST_EXPIRY_MS + 2 * DAY_MS, settled_to=2) == 1


def test_no_request_lives_longer_than_its_end_is_remembered() -> None:
    asked = request(1, expires_at=NOW + 999_999 * DAY_MS)
    assert bounded(asked).expires_at == asked.requested_at + LONGEST_EXPIRY_MS
    assert bounded(request(1)) == request(1)


def saved(entries: Iterator[LedgerEntry] | list[LedgerEntry]) -> tuple[Ledger, list[Checkpoint]]:
    ledger, count = Ledger(), 0
    for entry in entries:
        ledger.apply(entry)
        count += 1
    found = []
    while ledger.unsaved:
        found.append(CHECKPOINT_DECODER.decode(CHECKPOINT_ENCODER.encode(ledger.checkpoint(NOW, count))))
    return ledger, found


def test_checkpoints_hold_what_is_settled_in_records_that_every_broker_takes() -> None:
    count = MOST_SAVED + 10_000
    _, checkpoints = saved(ends(count))
    assert len(checkpoints) == 2
    assert all(len(CHECKPOINT_ENCODER.encode(one)) < 1_000_000 for one in checkpoints)
    assert [one.upto for one in checkpoints] == [0, count]
    resumed = resume(checkpoints[-1], checkpoints)
    assert resumed.whole
    assert (resumed.upto, len(resumed.ledger), resumed.ledger.unsaved) == (count, count, 0)
    assert all(resumed.ledger.is_settled(entry.dispatch_id) for entry in list(ends(count))[::1000])


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_checkpoints_of_which_a_part_is_missing_are_not_believed(lost: int) -> None:
    ledger = Ledger()
    checkpoints = []
    for first in (0, 10, 20):
        for number in range(first, first + 10):
            ledger.apply(end(number))
        checkpoints.append(ledger.checkpoint(NOW, first + 10))
    assert resume(checkpoints[-1], checkpoints).whole
    left = [one for number, one in enumerate(checkpoints) if number != lost]
    resumed = resume(left[-1], left)
    if lost == 2:  # a later one that nobody speaks of is only a shorter chain
        assert (resumed.whole, resumed.upto) == (True, 20)
        return
    assert (resumed.whole, resumed.upto, len(resumed.ledger)) == (False, 0, 0)
    for number in range(30):
        resumed.ledger.apply(end(number))
    anew = [*left, resumed.ledger.checkpoint(NOW, 30)]
    again = resume(anew[-1], anew)
    assert (again.whole, again.upto, len(again.ledger)) == (True, 30, 30)


def test_a_checkpoint_of_a_newer_release_is_not_believed() -> None:
    _, checkpoints = saved([end(number) for number in range(5)])
    newer = msgspec.structs.replace(checkpoints[-1], version=2)
    assert resume(newer, [newer]).whole is False


def test_a_day_that_was_forgotten_and_comes_again_is_read_from_the_checkpoints_that_speak_of_it() -> None:
    """After an outage of days, messages that expired in it end on a day whose ids have been saved and forgotten."""
    ledger, found = Ledger(), []
    for first in (0, 10, 20):
        for number in range(first, first + 10):
            ledger.apply(end(number))
        found.append(ledger.checkpoint(NOW, first + 10))
        assert ledger.forget(NOW + 9 * DAY_MS, settled_to=first + 10) == 10
    ledger.apply(end(30))
    found.append(ledger.checkpoint(NOW, 31))
    resumed = resume(found[-1], found)
    assert (resumed.whole, resumed.upto, len(resumed.ledger)) == (True, 31, 1)
    assert resumed.ledger.is_settled(end(30).dispatch_id)
    assert not resumed.ledger.is_settled(end(20).dispatch_id)
    assert resumed.ledger.forget(NOW + 9 * DAY_MS, settled_to=31) == 1
    resumed.ledger.apply(end(31))
    found.append(resumed.ledger.checkpoint(NOW, 32))
    again = resume(found[-1], found)
    assert (again.whole, len(again.ledger)) == (True, 1)


def test_ids_that_only_together_look_like_another_are_told_apart() -> None:
    ids = PackedIds()
    first, second = bytes(range(16)), bytes(range(16, 32))
    ids.add(first)
    ids.add(second)
    assert (first + second)[3:19] not in ids
    assert first in ids
    assert second in ids
    assert not ids.add(first)


class LedgerMachine(RuleBasedStateMachine):
    """A slot's ledger through days, checkpoints, crashes and lost checkpoints, against a full history of all ends."""

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.log: list[LedgerEntry] = []
        self.checkpoints: list[Checkpoint] = []
        self.requests: list[LedgerEntry] = []
        self.model: dict[str, LedgerEntry] = {}
        self.lost = False
        self.ledger = Ledger()

    def record(self, entry: LedgerEntry) -> None:
        self.log.append(entry)
        self.ledger.apply(entry)
        self.model[entry.dispatch_id] = entry

    @property
    def settled_to(self) -> int:
        """As dispatch/queue.py: below it everything has ended."""
        ended = (self.model.get(one.dispatch_id) for one in self.requests)
        unsettled = (n for n, entry in enumerate(ended) if entry is None or entry.status in (MessageStatus.CLAIMED, MessageStatus.SENDING))
        return next(unsettled, len(self.requests))

    @rule(days=st.sampled_from([0, 0, 1, 31]), partition=st.integers(0, 1), status=st.sampled_from([None, *MessageStatus]))
    def ask(self, days: int, partition: int, status: MessageStatus | None) -> None:
        """A request comes, and reaches a state; None: nothing is recorded yet."""
        number = len(self.requests)
        entry = msgspec.structs.replace(
            end(number, at=self.now),
            expires_at=self.now + days * DAY_MS,
            cause=Cause("journeys", "t", partition, number, 0).encode().decode(),
        )
        self.requests.append(entry)
        if status is not None:
            self.record(msgspec.structs.replace(entry, status=status))

    @precondition(lambda self: self.settled_to < len(self.requests))
    @rule(status=st.sampled_from([one for one in MessageStatus if one not in (MessageStatus.CLAIMED, MessageStatus.SENDING)]))
    def settle_the_first_that_waits(self, status: MessageStatus) -> None:
        self.record(msgspec.structs.replace(self.requests[self.settled_to], status=status, at=self.now))

    @rule(hours=st.integers(1, 24 * 20))
    def let_time_pass(self, hours: int) -> None:
        self.now += hours * DAY_MS // 24

    @rule()
    def forget(self) -> None:
        self.ledger.forget(self.now, self.settled_to)

    @precondition(lambda self: self.ledger.unsaved)
    @rule()
    def save(self) -> None:
        self.checkpoints.append(self.ledger.checkpoint(self.now, len(self.log)))
        self.log += self.ledger.under_way()

    @rule()
    def crash(self) -> None:
        resumed = resume(self.checkpoints[-1] if self.checkpoints else None, self.checkpoints)
        assert resumed.whole or self.lost, "the whole log would be read for nothing"
        for entry in self.log[resumed.upto :]:
            resumed.ledger.apply(entry)
        self.ledger = resumed.ledger

    @precondition(lambda self: self.checkpoints)
    @rule(data=st.data())
    def lose_a_checkpoint_and_crash(self, data: st.DataObject) -> None:
        self.lost = True
        del self.checkpoints[data.draw(st.integers(0, len(self.checkpoints) - 1))]
        self.crash()

    @invariant()
    def every_message_is_known_as_the_history_knows_it(self) -> None:
        for asked in self.requests:
            last = self.model.get(asked.dispatch_id)
            known, passed = self.ledger.is_settled(asked.dispatch_id), self.ledger.was_settled(asked.cause)
            if last is not None and last.status not in (MessageStatus.CLAIMED, MessageStatus.SENDING):
                expired = asked.useful_until <= self.now
                assert known or (passed and expired), "it would be sent, or its end would be told, a second time"
            else:
                assert not known, "it would never be sent"
                assert not passed, "it would be dropped without a word"
                assert self.ledger.of(asked.dispatch_id) == last


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
