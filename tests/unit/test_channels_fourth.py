"""A channel is one file and one registration: a message goes all the way by one that nobody else has heard of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from services.messaging.channels.opened import OpenChannels
from services.messaging.channels.registry import CHANNELS, contacts, heads
from services.messaging.channels.socket import ONE, Channel, Composed, Draft, Exit, Open, Setup
from services.messaging.dispatch.ports import Known, Observer
from services.messaging.domain.outcome import Outcome, Outgoing, Sent
from services.messaging.domain.planning import plans
from services.messaging.stage import Journeys
from shared.definitions.consent import ConsentPolicy
from shared.definitions.folder import read_folder
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead
from tests.unit import dispatcher_world, test_journeys_stage
from tests.unit.test_messaging_settings import settings

# --- the one file


class PagerHead(TemplateHead):
    """`tone`: how it rings."""

    contact: ClassVar[str | None] = "pager"
    tone: str = "soft"


@dataclass(frozen=True)
class Page(Outgoing):
    number: str
    tone: str
    text: str


@dataclass
class Pagers:
    """A provider that keeps what it was handed."""

    name: str = "pagers"
    rung: list[Page] = field(default_factory=list)

    async def send(self, message: Page, may_begin: Callable[[], bool]) -> Outcome:
        assert may_begin()
        self.rung.append(message)
        return Sent(f"p-{len(self.rung)}")


PAGERS = Pagers()


def _compose(draft: Draft) -> Composed[Page]:
    assert isinstance(draft.head, PagerHead)
    assert draft.to is not None
    return Composed(Page(draft.request.dispatch_id, draft.to, draft.head.tone, draft.rendered.text.strip()), f"***{draft.to[-2:]}")


def _open(setup: Setup) -> Open[Page]:
    return Open(_compose, {ONE: Exit(PAGERS, places=2)})


PAGER = Channel("pager", PagerHead, _open, usable=str.isdigit)

# --- the one registration

WITH_PAGER = {**CHANNELS, PAGER.name: PAGER}

# --- and what an operator writes

SEGMENT = "segment: important\ntitle: {zh: 重要, en: Important}\nwhen: {did: Order Completed}\n"
JOURNEY = """\
journey: page_them
title: {zh: 呼叫, en: Page them}
enter: {on: segment.entered, segment: important}
steps:
  - send: {channel: pager, template: call}
"""
TEMPLATE = "---\ntemplate: call\nchannel: pager\nclass: transactional\nlocale: en\ntone: loud\n---\nCall {{ person.firstName }}\n"
T = test_journeys_stage.T


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


async def test_a_channel_of_one_file_goes_from_journey_to_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, segment__yaml=SEGMENT, journey__yaml=JOURNEY, call__en__liquid=TEMPLATE)
    known = read_folder(tmp_path, heads=heads(WITH_PAGER)).needed(Segment, Journey, TemplateHead, ConsentPolicy)

    upstream = test_journeys_stage.World()
    found = plans(known.of(Journey), known.templates)
    upstream.stage = Journeys(contacts(WITH_PAGER), found, known.templates.person_names, known.templates.endpoint)
    upstream.tick(T)
    upstream.event("u:1", T, type="identify", ids={"pager": "5550123"}, traits={"firstName": "Ann"}, context={})
    upstream.enter("u:1", T + 5, decided_at=T)
    await upstream.run()
    upstream.tick(T + 1000)
    await upstream.run()
    [asked] = upstream.requests()

    world = dispatcher_world.World(known.templates)
    channels = OpenChannels(WITH_PAGER, settings(monkeypatch), {})
    world.channels = channels
    outlets = channels.outlets(world.patience, world.clock, Observer())
    world.other_lanes = {lane: outlet for lane, outlet in outlets if lane.channel == PAGER.name}
    world.people.people["u:1"] = Known("u:1", upstream.person("u:1"))
    world.ask(asked)
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    await channels.close()

    assert [(page.number, page.tone, page.text) for page in PAGERS.rung] == [("5550123", "loud", "Call Ann")]
    [told] = world.ledger.told
    assert (told.status.value, told.provider, told.provider_message_id, told.to_masked) == ("sent", "pagers", "p-1", "***23")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("channel: pager", "channel: pagr"), "call.en.liquid:3: channel: expected one of the channels email, pager"),
        (("tone: loud", "tune: loud"), "call.en.liquid:6: tune: unknown key 'tune' (did you mean 'tone'?)"),
        (("tone: loud", "subject: Hi"), "call.en.liquid:6: subject: unknown key 'subject'"),
    ],
)
def test_check_knows_the_front_matter_of_a_channel_of_one_file(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    write(tmp_path, segment__yaml=SEGMENT, journey__yaml=JOURNEY, call__en__liquid=TEMPLATE.replace(*change))
    problems = [str(problem) for problem in read_folder(tmp_path, heads=heads(WITH_PAGER)).problems]
    assert any(problem.startswith(said) for problem in problems), problems


def test_a_journey_is_told_which_channels_there_are(tmp_path: Path) -> None:
    write(tmp_path, segment__yaml=SEGMENT, journey__yaml=JOURNEY, call__en__liquid=TEMPLATE)
    (tmp_path / "who.yaml").write_text("identity: us\nkinds: [email]\n")
    problems = [str(problem) for problem in read_folder(tmp_path, heads=heads(WITH_PAGER)).problems]
    assert problems == ["journey.yaml:5: steps[0].send.channel: nobody could be written to: add 'pager' at the end of `kinds` in who.yaml"]
