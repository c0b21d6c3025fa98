"""What whoever follows the definitions knows of them, record by record."""

import msgspec
import pytest

from shared.adapters.definition_topic import MissingText
from shared.contracts.definitions import (
    ENCODER,
    DefinitionRecord,
    DefinitionRefusal,
    DefinitionSet,
    FileRef,
    SetDefinition,
    set_key,
    set_record,
    text_hash,
    text_key,
    text_record,
)
from shared.contracts.key_signature import KeySecrets
from tests.definition_log import MemoryTopic
from tests.key_secrets import KEY_SECRET, SECRETS

OTHERS = KeySecrets.parse("another-" + KEY_SECRET)


class Following:
    """A topic that is told records by hand."""

    def __init__(self, secrets: KeySecrets | None = None) -> None:
        self.topic = MemoryTopic(secrets)
        self.refused = self.topic.refused

    def told(self, *records: DefinitionRecord) -> "Following":
        self.topic.told(*records)
        return self


def a_set(number: int, activated_at: int, *texts: bytes, why: str = "") -> DefinitionSet:
    files = tuple(FileRef(f"{place}.yaml", text_hash(text)) for place, text in enumerate(texts))
    one = SetDefinition(kind="segment", name="vip", version=7, since=1)
    return DefinitionSet(
        number=number,
        base=number - 1,
        activated_at=activated_at,
        applied_at=activated_at,
        applied_by="k",
        why=why,
        files=files,
        definitions=(one,),
    )


def gone(key: bytes) -> DefinitionRecord:
    return DefinitionRecord(key, None)


def test_the_newest_set_is_the_head_and_each_is_found_by_number_and_by_instant() -> None:
    first, second, third = a_set(1, 100, b"a"), a_set(2, 200, b"a", b"b"), a_set(3, 300, b"b")
    following = Following()
    assert following.topic.head is None
    following.told(*(set_record(one, SECRETS) for one in (first, second, third)))
    topic = following.topic
    assert topic.head == third
    assert topic.sets == [first, second, third]
    assert [topic.get(number) for number in (0, 1, 2, 3, 4)] == [None, first, second, third, None]
    assert [topic.at(when) for when in (1, 100, 101, 200, 300, 301)] == [first, first, second, second, third, None]


def test_texts_are_found_by_their_hash_and_a_set_without_one_is_not_read_as_if_it_were_whole() -> None:
    following = Following().told(text_record("Grüße\n".encode()))
    whole, torn = a_set(1, 1, "Grüße\n".encode()), a_set(2, 2, b"never written")
    assert following.topic.texts(whole) == {"0.yaml": "Grüße\n"}
    with pytest.raises(MissingText, match=r"set 2: the text of 0\.yaml"):
        following.topic.texts(torn)
    following.told(gone(text_key(text_hash("Grüße\n".encode()))))
    assert following.topic.text(text_hash("Grüße\n".encode())) is None


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (DefinitionRecord(text_key("0" * 64), b"a"), DefinitionRefusal.MISNAMED),
        (DefinitionRecord(text_key(text_hash(b"\xff")), b"\xff"), DefinitionRefusal.UNDECODABLE),
        (DefinitionRecord(set_key(9), ENCODER.encode(a_set(8, 900))), DefinitionRefusal.MISNAMED),
        (DefinitionRecord(set_key(9), b"{"), DefinitionRefusal.UNDECODABLE),
        (DefinitionRecord(b"set:x", b"{}"), DefinitionRefusal.UNDECODABLE),
        (DefinitionRecord(b"set:09", b"{}"), DefinitionRefusal.UNDECODABLE),
        (set_record(a_set(5, 500, why="not what was said before"), SECRETS), DefinitionRefusal.REPEATED),
        (set_record(a_set(4, 600), SECRETS), DefinitionRefusal.REPEATED),
        (set_record(a_set(6, 500), SECRETS), DefinitionRefusal.REPEATED),
        (gone(set_key(5)), DefinitionRefusal.HEAD_DELETED),
    ],
)
def test_what_is_not_as_its_key_says_or_out_of_order_counts_for_nothing(record: DefinitionRecord, why: DefinitionRefusal) -> None:
    head = a_set(5, 500)
    following = Following().told(set_record(head, SECRETS), record)
    assert following.refused == [why]
    assert following.topic.sets == [head]


def test_a_set_that_is_written_again_and_a_deletion_of_what_is_not_there_are_nothing_new() -> None:
    first = a_set(1, 100)
    following = Following().told(set_record(first, SECRETS), set_record(first, OTHERS), gone(set_key(7)))
    assert (following.refused, following.topic.sets) == ([], [first])


def test_with_secrets_only_sets_that_one_of_them_signed_count() -> None:
    unsigned = DefinitionRecord(set_key(1), ENCODER.encode(a_set(1, 1)))
    forged = set_record(a_set(1, 1), OTHERS)
    moved = msgspec.structs.replace(set_record(a_set(2, 2), SECRETS), key=set_key(1))
    good = a_set(1, 5)
    following = Following(SECRETS).told(unsigned, forged, moved, set_record(good, SECRETS))
    assert following.refused == [DefinitionRefusal.UNSIGNED] * 3
    assert following.topic.head == good


def test_an_old_set_that_is_deleted_is_forgotten_and_the_others_stay() -> None:
    first, second = a_set(1, 1), a_set(2, 2)
    following = Following().told(set_record(first, SECRETS), set_record(second, SECRETS), gone(set_key(1)))
    assert following.topic.sets == [second]
    assert following.topic.at(1) == second


def test_what_many_sets_have_in_common_is_kept_once() -> None:
    following = Following().told(*(set_record(a_set(number, number, b"a", b"b"), SECRETS) for number in (1, 2)))
    first, second = following.topic.sets
    assert all(one is other for one, other in zip(first.files, second.files, strict=True))
    assert first.definitions[0] is second.definitions[0]
