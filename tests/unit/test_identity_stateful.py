"""Identities under any interleaving of calls, working slots, crashes, takeovers and restored copies, where people share everything."""

from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from shared.contracts.digest import root
from shared.contracts.events import ReceivedEvent
from shared.contracts.ids import is_user, rank, user
from shared.contracts.link_blob import decode_links
from shared.contracts.profile_blob import decode_profile
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED
from shared.runtime import farther
from shared.testing.histories import alias_classes, encoded, event, key_of, shared_calls
from shared.testing.scene import Scene

USERS = ("ann", "bob", "cyd", "dan")


class Identities(RuleBasedStateMachine):
    """Invariants hold at every step; at the end, once all is read, nothing may be lost, double, or on somebody else."""

    @initialize(long=st.sampled_from((0, farther.LONG)))
    def start(self, long: int) -> None:
        """`long`: how far blobs go before they jump; these chains are short."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(farther, "LONG", long)
        self.scene = Scene(ResolverStage(), FolderStage())
        self.sent: list[ReceivedEvent] = []
        self.copies = [self.scene.redis.snapshot()]

    def send(self, made: ReceivedEvent) -> None:
        self.scene.log.append(EVENT_RECEIVED, key_of(made), encoded(made))

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.sent.append(data.draw(shared_calls(f"m{len(self.sent)}")))
        self.send(self.sent[-1])

    @rule(pair=st.permutations(USERS))
    def crossing_aliases(self, pair: list[str]) -> None:
        for one, two in ((pair[0], pair[1]), (pair[1], pair[0])):
            self.sent.append(event("alias", f"m{len(self.sent)}", user_id=one, previous_id=two))
            self.send(self.sent[-1])

    @rule(pair=st.permutations(USERS), email=st.sampled_from(("m1@x.org", "m2@x.org")))
    def claims_from_both_sides(self, pair: list[str], email: str) -> None:
        for one in pair[:2]:
            self.sent.append(event("identify", f"m{len(self.sent)}", user_id=one, ids={"email": email}))
            self.send(self.sent[-1])

    @rule(seed=st.integers(0, 2**16))
    def send_again(self, seed: int) -> None:
        if self.sent:
            self.send(Random(seed).choice(self.sent))

    @rule(seed=st.integers(0, 2**16), chunks=st.integers(1, 10))
    def work(self, seed: int, chunks: int) -> None:
        random = Random(seed)
        for _ in range(chunks):
            if pending := self.scene.pending():
                self.scene.work(random.choice(pending), random.randint(1, 4))

    @rule(seed=st.integers(0, 2**16), after=st.integers(0, 3))
    def crash(self, seed: int, after: int) -> None:
        if pending := self.scene.pending():
            self.scene.crash(Random(seed).choice(pending), 4, after)

    @rule()
    def restart(self) -> None:
        self.scene.restart()

    @rule(partition=st.integers(0, partition_count() - 1))
    def take_over(self, partition: int) -> None:
        self.scene.take_over(partition)

    @rule()
    def copy(self) -> None:
        self.copies.append(self.scene.redis.snapshot())

    @rule(data=st.data(), noticed=st.booleans())
    def restore(self, data: st.DataObject, noticed: bool) -> None:
        """An old copy comes back, under living workers or with new ones; those made after it are of a time that has not been."""
        chosen = data.draw(st.integers(0, len(self.copies) - 1))
        del self.copies[chosen + 1 :]
        self.scene.restore(self.copies[chosen])
        if noticed:
            self.scene.restart()

    @invariant()
    def forwards_go_up_and_users_are_joined_by_aliases_alone(self) -> None:
        class_of = alias_classes(self.sent)
        for stage, key, blob, _ in self.scene.stored():
            if stage == "resolver" and (forward := decode_links(blob).forward) is not None:
                assert rank(forward) < rank(key), "so there can be no cycle"
                assert not is_user(key) or class_of(key[2:]) == class_of(forward[2:])

    @invariant()
    def nothing_counts_twice(self) -> None:
        people = [decode_profile(blob) for stage, _, blob, _ in self.scene.stored() if stage == "folder"]
        assert sum(profile.events for profile in people) <= len(self.sent)

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        try:
            self.check_the_end()
        finally:
            self.patch.undo()

    def check_the_end(self) -> None:
        """Nothing is lost, double, or on somebody else."""
        for partition in range(partition_count()):
            self.scene.take_over(partition)  # an idle worker would not notice a restored copy
        self.scene.settle()
        stored = self.scene.stored()
        people = {key: decode_profile(blob) for stage, key, blob, _ in stored if stage == "folder" and blob}
        markers = self.scene.markers("folder")
        assert sum(profile.events for profile in people.values()) == len(self.sent)
        assert self.scene.waiting("folder") == []
        class_of = alias_classes(self.sent)
        for profile in people.values():
            assert len({class_of(one) for one in profile.user_ids}) <= 1
        for one in self.sent:
            if one.user_id is not None:
                assert one.user_id in people[root(user(one.user_id), markers)].user_ids


Identities.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
TestIdentities = Identities.TestCase
