"""Ingest under a set of definitions that its release cannot read."""

import pytest

from shared.definitions.yaml_text import DefinitionError, Problem
from tests.contract.ingest_rig import Rig
from tests.contract.test_ingest_api import TRACK, problem


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_under_definitions_that_this_release_cannot_read_callers_wait_and_nothing_is_keyed_wrongly(rig: Rig) -> None:
    def unreadable() -> tuple[str, ...]:
        raise DefinitionError([Problem("identity.yaml", 2, "of_a_newer_release", "unknown key")])

    rig.kinds = unreadable
    answer = await rig.post("/v1/track", TRACK)
    problem(answer, 503, "definitions_not_read")
    assert "identity.yaml:2" in answer.json()["detail"]
    assert "retry-after" in answer.headers
    assert rig.events() == []
