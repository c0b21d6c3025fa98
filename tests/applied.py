"""Definitions applied as an installation applies its folder: to a log, or in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.control import apply
from services.control.channels import HEADS
from services.control.definition_settings import ApplySettings
from services.control.domain.applying import proposal
from services.control.domain.folder import AtStart, order
from shared.definitions.applied import Applied
from shared.definitions.folder import read_texts
from shared.definitions.template import Heads
from shared.definitions.texts import texts_below
from tests.key_secrets import KEY_SECRET

SHIPPED = Path(__file__).parents[1] / "deploy" / "definitions"


def apply_folder(bootstrap: str, folder: Path = SHIPPED, **settings: Any) -> str:
    """Apply what stands in `folder` on a running broker; answers what was done."""
    return apply.run(ApplySettings(kafka_bootstrap=bootstrap, key_secret=KEY_SECRET, definitions_dir=folder, **settings))


def first_set(texts: Mapping[str, str], heads: Heads = HEADS) -> Applied:
    """`texts` (path -> text) as the first set of an installation. Raises DefinitionError."""
    read = read_texts(texts, heads=heads)
    made = proposal(None, texts, order(AtStart.FOLDER, "UTC", "en"), 1, heads, ())
    return Applied(made.wanted, read, {})


def first_set_of(folder: Path = SHIPPED, heads: Heads = HEADS) -> Applied:
    """What stands in `folder`, likewise."""
    texts, problems = texts_below(folder)
    assert not problems
    return first_set(texts, heads)
