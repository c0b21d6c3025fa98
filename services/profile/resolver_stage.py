"""Stage `resolver`: whose is this event? Each typed id gets its one forward here, in its own slot; README.md argues why that is enough.

Rules, by the key of the record:
- device (`a:`): an event with a user goes to that user, and the first such user gets the device; without one, to the device's owner.
- user (`u:`), external id (`email:` …): to what it forwards to, else to itself.
- claim and join (LinkRequest): sent from slot to slot until they reach an id that may decide.
- expired (Expiry): an anonymous id of nobody else's under which nothing came for long enough is forgotten, and the stages behind are told.
Forwards only go up in rank (ids.rank), so there is no cycle, and the root of all that belongs together is its highest, whatever came
first. Between two users only an alias makes a forward.
"""

from typing import Final

import msgspec

from services.profile.domain.dedup import short_hash
from services.profile.domain.node import Node
from shared.contracts.headers import KIND, KIND_EXPIRED, KIND_LINK, KIND_MERGE, MERGED_FROM, ORIGIN_KIND
from shared.contracts.identity import LINK_DECODER, ConflictRecord, Expiry, LinkKind, LinkRequest, MergeRecord
from shared.contracts.ids import anonymous, external, is_anonymous, is_user, rank, user
from shared.contracts.link_blob import Links
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RECEIVED, EVENT_RESOLVED, IDENTITY_CONFLICTED, RESOLVER_REPLAYED
from shared.definitions.applied import Applied, external_kinds
from shared.runtime.stage import Record, Stage, Step

_MERGE_HEADER: Final = (KIND, KIND_MERGE)
_LINK_HEADER: Final = (KIND, KIND_LINK)
_EXPIRED_HEADER: Final = (KIND, KIND_EXPIRED)
_encode: Final = msgspec.json.Encoder().encode


class Call(msgspec.Struct, frozen=True, gc=False):
    """What the resolver reads of an event (shared/contracts/events.py); the event itself is passed on unchanged."""

    type: str
    message_id: str
    source_id: str
    anonymous_id: str | None = None
    user_id: str | None = None
    previous_id: str | None = None
    ids: dict[str, str] = {}


class ResolverStage(Stage[Node, Call | LinkRequest]):
    """Events in, the same events under their person's profile id out.

    The plan of a set of definitions is its kinds of external id, strongest first. Later sets may only add weaker ones: were the order of
    two to change, two people could be merged into one another.
    """

    name = "resolver"
    inputs = (EVENT_RECEIVED, DEFINITION_ACTIVATED, RESOLVER_REPLAYED)
    linger_ms = 30
    weight = 12

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Call).decode

    def compile(self, defined: Applied | None) -> tuple[str, ...]:
        return external_kinds(defined)

    def decode(self, record: Record) -> Call | LinkRequest:
        for name, value in record.headers:
            if value == KIND_LINK and name in (KIND, ORIGIN_KIND):
                return LINK_DECODER.decode(record.value or b"")
        return self._decode(record.value or b"")

    def empty(self, key: str) -> Node:
        return Node(Links())

    def load(self, raw: bytes) -> Node:
        return Node.load(raw)

    def dump(self, state: Node) -> bytes:
        return state.dump()

    def fold(self, state: Node, item: Call | LinkRequest, step: Step) -> Node:
        if isinstance(item, LinkRequest):
            if item.kind is LinkKind.CLAIM:
                self._claimed(state, item, step)
            elif item.checked:
                self._checked(state, item, step)
            else:
                self._joined(state, item, step)
        elif state.seen.add(short_hash(item.source_id, item.message_id), step.at):
            self._event(state, item, step)
        else:
            state.duplicates += 1
        return state

    def expire(self, state: Node, expiry: Expiry, step: Step) -> Node:
        """All events of the id stand before or behind this record, here and nowhere else, and Kafka's times alone decide: so does a refold.

        What is not known here at all has not come either: a stage that missed the answer is told again.
        """
        if is_anonymous(step.key) and state.forward is None and state.seen.until <= step.at - expiry.unseen_ms:
            step.gone = True
            step.emit(EVENT_RESOLVED, step.key, _encode(Expiry(step.key, expiry.unseen_ms, step.at)), _EXPIRED_HEADER)
        else:
            step.unchanged = True
        return state

    def _event(self, state: Node, call: Call, step: Step) -> None:
        key = step.key
        merged = False
        if call.user_id is not None and is_anonymous(key):
            profile: str = user(call.user_id)
            merged = self._user_on_device(state, profile, call.type == "alias", step)
        elif call.user_id is not None and call.type == "alias":
            profile = user(call.user_id)
            self._alias(call, profile, step)
        elif state.forward is None:
            state.had = True
            profile = key
        else:
            profile = state.forward
        if merged:
            step.emit(EVENT_RESOLVED, profile, None, (MERGED_FROM, key.encode()))
        else:
            step.emit(EVENT_RESOLVED, profile, None)
        for kind, value in call.ids.items():
            claimed = external(kind, value)
            if kind in step.plan and claimed not in (key, profile) and state.ask_once(profile, claimed):
                self._ask(LinkRequest(LinkKind.CLAIM, claimed, profile, "claim"), step)

    def _user_on_device(self, state: Node, profile: str, aliased: bool, step: Step) -> bool:
        """The first user of a device gets it, with all that it did alone: True if a merge says so just now."""
        owner = state.forward
        if owner is None:
            self._forward(state, profile, step)
            return state.had
        # a device of another user stays with that user (an alias that says otherwise is a conflict); something weaker comes along
        if owner != profile and (aliased or not is_user(owner)) and state.ask_once(owner, profile):
            self._join(owner, profile, step.key, False, step)
        return False

    def _alias(self, call: Call, profile: str, step: Step) -> None:
        """`previous_id` and `user_id` are one person. It may be a user id or an anonymous one, so both are joined.

        Only the user id is joined whatever it belongs to: a device may belong to a third person, and that is a conflict.
        """
        if call.previous_id is not None:
            self._join(user(call.previous_id), profile, "alias", True, step)
            self._join(anonymous(call.previous_id), profile, "alias", False, step)
        if call.anonymous_id is not None and call.anonymous_id != call.previous_id:
            self._join(anonymous(call.anonymous_id), profile, "alias", False, step)

    def _claimed(self, state: Node, claim: LinkRequest, step: Step) -> None:
        """A profile says that this external id is its own."""
        if state.forward is not None:
            self._join(state.forward, claim.other, step.key, False, step)
        elif rank(claim.other, step.plan) < rank(step.key, step.plan):
            self._forward(state, claim.other, step)
        else:  # the id outranks its claimant (a device) and becomes the profile, even if nothing has come under it yet
            state.had = True
            self._join(step.key, claim.other, step.key, False, step)

    def _joined(self, state: Node, join: LinkRequest, step: Step) -> None:
        """This id gives way to `other`, unless it has given way already: then what it gave way to is joined instead."""
        if state.forward is not None:
            self._join(state.forward, join.other, join.why, join.explicit, step)
        elif join.explicit or not (is_user(step.key) and is_user(join.other)):
            self._forward(state, join.other, step)
        else:  # two users that are not known to be one: perhaps the other has been aliased to somebody
            self._ask(LinkRequest(LinkKind.JOIN, join.other, step.key, join.why, checked=True), step)

    def _checked(self, state: Node, join: LinkRequest, step: Step) -> None:
        """`other`, a user of its own, is to be joined with this user and no alias has said so to `other`."""
        if state.forward is not None:
            self._join(state.forward, join.other, join.why, False, step)
            return
        one, two = sorted((step.key, join.other))
        step.emit(IDENTITY_CONFLICTED, one, _encode(ConflictRecord(one, two, join.why, step.at)))

    def _forward(self, state: Node, winner: str, step: Step) -> None:
        """Give this id its forward, and say so to the stages if they may hold something under it.

        Under a user's id events are given by the slots of its devices; under any other only by its own slot, or by others after that.
        """
        state.forward = winner
        if state.had or is_user(step.key):
            step.emit(EVENT_RESOLVED, step.key, _encode(MergeRecord(step.key, winner, step.at)), _MERGE_HEADER)

    def _join(self, one: str, two: str, why: str, explicit: bool, step: Step) -> None:
        if one != two:
            winner, loser = sorted((one, two), key=lambda typed: rank(typed, step.plan))
            self._ask(LinkRequest(LinkKind.JOIN, loser, winner, why, explicit), step)

    def _ask(self, request: LinkRequest, step: Step) -> None:
        step.emit(EVENT_RECEIVED, request.id, _encode(request), _LINK_HEADER)
