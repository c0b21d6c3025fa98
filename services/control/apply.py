"""Applies the folder of definitions before the processes start that go by them: `python -m services.control.apply`.

Safe at every start and beside a running system. A folder that has not changed since it was applied last changes nothing, so what was
applied by the API since then stays. Exit code 2: a definition or a setting must be mended first.
"""

import sys
import time
from typing import Final

from services.control.channels import HEADS
from services.control.definition_settings import ApplySettings
from services.control.domain.applying import kinds_of, proposal
from services.control.domain.folder import AtStart, at_start, filling, order
from shared.adapters.definition_activations import DefinitionActivations
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.definition_writer import BaseMoved, DefinitionWriter, HistoryFull, Overtaken
from shared.adapters.environment import cannot_start, read_environment
from shared.definitions.texts import texts_below
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.ports import LogAway

SECONDS: Final = 60.0
TRIES: Final = 5
"""Somebody else may apply at the same moment."""
APPLIED: Final = {
    AtStart.FOLDER: "the folder of definitions was applied",
    AtStart.WHAT_HOLDS: "the folder of definitions is known; what holds was applied under the time zone and the locale of the settings",
}


def applied(settings: ApplySettings, topic: DefinitionTopic, writer: DefinitionWriter, activations: DefinitionActivations) -> str:
    """Apply the folder if it is to be, and tell every partition of the newest set; returns what was done.

    Raises DefinitionError, BaseMoved, Overtaken, HistoryFull, LogAway.
    """
    texts, problems = texts_below(settings.definitions_dir)
    if problems:
        raise DefinitionError(problems)
    zone, locale = settings.timezone, settings.default_locale
    told = "the folder of definitions is known"
    head = topic.head
    what = at_start(topic.sets, texts, zone, locale)
    if what is not AtStart.NOTHING:
        holding = topic.texts(head) if head is not None else {}
        if what is AtStart.WHAT_HOLDS:
            texts = dict(holding)
        wanted = proposal(head, texts, order(what, zone, locale), time.time_ns() // 1_000_000, HEADS, kinds_of(holding) if holding else ())
        if wanted.differs:
            writer.write(wanted.wanted, texts)
            told = f"{APPLIED[what]} as set {wanted.wanted.number}{filling(wanted.wanted)}"
    head = topic.head
    if head is not None:
        activations.complete(head)
    return told


def run(settings: ApplySettings) -> str:
    """As `applied`, by clients of its own; tries again while somebody else applies."""
    topic = DefinitionTopic(settings.kafka, "rapport-apply-definitions", settings.key_secrets)
    activations = DefinitionActivations(settings.kafka, "rapport-apply-definitions")
    writer = DefinitionWriter(settings.kafka, settings.group_prefix, topic, settings.key_secrets)
    topic.start()
    try:
        if not topic.wait(SECONDS):
            raise LogAway(f"the definitions cannot be read: no answer from {settings.kafka_bootstrap} in {SECONDS:g} s")
        for _ in range(TRIES - 1):
            try:
                return applied(settings, topic, writer, activations)
            except (BaseMoved, Overtaken):
                topic.caught_up(SECONDS)
        return applied(settings, topic, writer, activations)
    finally:
        topic.stop()
        activations.close()


def main() -> None:
    """Do it and say what was done."""
    settings = read_environment("definitions", ApplySettings)
    try:
        print(run(settings))  # noqa: T201 for the log
    except DefinitionError as error:
        cannot_start("definitions", *error.problems)
    except HistoryFull as error:
        cannot_start("definitions", error)
    except (LogAway, BaseMoved, Overtaken) as error:
        sys.exit(f"definitions were not applied: {error}")


if __name__ == "__main__":
    main()
