"""JSON Schema of each kind of definition, generated from the models, for editors to complete and check against."""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from shared.definitions.journey import SendWhat
from shared.definitions.models import Definition

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[Definition], channels: Iterable[str]) -> str:
    """The schema of one kind, as the text of a file. `channels`: those that there are."""
    schema = {"$schema": DIALECT, **model.model_json_schema(by_alias=True)}
    if (sends := schema.get("$defs", {}).get(SendWhat.__name__)) is not None:
        sends["properties"]["channel"] = {"enum": sorted(channels), "title": "Channel", "type": "string"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def schema_files(kinds: Mapping[str, type[Definition]], channels: Iterable[str]) -> dict[str, str]:
    """File name -> text, for every kind."""
    return {f"{kind}.schema.json": json_schema(model, channels) for kind, model in kinds.items()}
