"""What the models of all kinds stand on: frozen, no unknown keys, and pydantic's errors turned into problems with file and line."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from shared.definitions.yaml_text import DefinitionError, Document, Path, Plain, Problem

M = TypeVar("M", bound="Part")

TAG_PREFIX = "<"
"""Tags of unions begin so: they stand in pydantic's locations but not in the file."""


class Part(BaseModel):
    """A mapping in a definition file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, value: Any) -> Any:
        """Name the unknown keys and the known ones: pydantic's own message names only the former."""
        if isinstance(value, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            unknown = [key for key in value if key not in known]
            if unknown:
                near = difflib.get_close_matches(str(unknown[0]), known, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                names = ", ".join(map(repr, unknown))
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key {names}{hint}; expected: {known}",
                    {"names": names, "hint": hint, "known": ", ".join(known), "key": str(unknown[0])},
                )
        return value


class Reference(NamedTuple):
    """A place in a definition that names another one."""

    path: Path
    kind: str
    name: str


class Definition(Part):
    """The top of a file. `kind` is the key whose value is the definition's name; `only_one`: an installation has one at most."""

    kind: ClassVar[str]
    only_one: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The definition's name, unique within its kind."""
        return str(getattr(self, self.kind))

    @property
    def version(self) -> int:
        """32 bits of the hash of what the definition does: however it is written, the same has the same version."""
        return short_hash(canonical(self))

    def references(self) -> Sequence[Reference]:
        """Where this definition names others."""
        return ()


def short_hash(text: str) -> int:
    """32 bits of the hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def wrong(message: str) -> PydanticCustomError:
    """The error that a validator raises when `message` says what was expected."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def read(document: Document, model: type[M]) -> M:
    """The document as a `model`. Raises DefinitionError with all that is wrong."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise DefinitionError([_problem(document, details) for details in error.errors(include_url=False)]) from None


def _problem(document: Document, details: ErrorDetails) -> Problem:
    path: Path = tuple(part for part in details["loc"] if not (isinstance(part, str) and part.startswith(TAG_PREFIX)))
    match details["type"]:
        case "unknown_key":
            path = (*path, details["ctx"]["key"])
            message = details["msg"]
        case "missing":
            message = "is missing"
        case "wrong":
            message = details["msg"]
        case _:
            found = details["input"]
            shown = f" (found {found!r})" if isinstance(found, str | int | float | bool | None) else ""
            message = f"{details['msg'][0].lower()}{details['msg'][1:]}{shown}"
    return document.problem(path, message)


def canonical(part: Part) -> str:
    """What a part says, as text that is the same however it was written."""
    return json.dumps(_canonical(part), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _is_unsaid(value: object, field: FieldInfo) -> bool:
    """A field that is left out, or off and would be off if it were left out: so a new one changes no text."""
    return value in (None, {}, ()) or (value is False and field.default is False)


def _canonical(value: object) -> object:
    match value:
        case Part():
            fields = type(value).model_fields
            said = {name: one for name, field in fields.items() if not _is_unsaid(one := getattr(value, name), field)}
            return {fields[name].alias or name: _canonical(one) for name, one in said.items()}
        case dict():
            return {key: _canonical(one) for key, one in value.items()}
        case tuple():
            return [_canonical(one) for one in value]
        case Decimal():
            return {"number": format(value.normalize(), "f")}
        case _:
            return value if isinstance(value, str | int | bool | None) else str(value)


def plain_mapping(data: Plain) -> dict[str, Plain]:
    """`data` if it is a mapping, else nothing."""
    return data if isinstance(data, dict) else {}
