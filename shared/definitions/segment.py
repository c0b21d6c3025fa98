"""A segment file: a name, titles, the rule of who is in it, and tests of that rule."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AwareDatetime, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from shared.definitions.models import Definition, Part, Reference, canonical, short_hash, wrong
from shared.definitions.rules import EventName
from shared.definitions.yaml_text import Plain
from shared.rules.rule import Rule, few_leaves, references

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", strict=True)]
"""A definition's name: lower-case letters, digits and underscores."""

MAX_TESTS: Final = 100


def _text_date(value: Any) -> Any:
    if not isinstance(value, str):
        raise wrong(f"expected a time with its offset, such as 2026-06-01T09:00:00+08:00 (found {value!r})")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text_date)]


def _json_mapping(value: Any) -> dict[str, Plain]:
    if not isinstance(value, dict):
        raise wrong(f"expected a mapping (found {value!r})")
    return value


JsonMapping = Annotated[dict[str, Any], PlainValidator(_json_mapping), WithJsonSchema({"type": "object"})]


class Titles(Part):
    """What people read, in Chinese and in English."""

    zh: Annotated[str, Field(min_length=1, max_length=120)]
    en: Annotated[str, Field(min_length=1, max_length=120)]


class Given(Part):
    """Something the person of a test did: a `track` or `page` or `screen` with properties, or an `identify` with traits."""

    at: Time
    track: EventName | None = None
    page: str | None = None
    screen: str | None = None
    identify: JsonMapping | None = None
    properties: JsonMapping = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_call(self) -> Self:
        if sum(call is not None for call in (self.track, self.page, self.screen, self.identify)) != 1:
            raise wrong("expected exactly one of track, page, screen, identify")
        if self.identify is not None and self.properties:
            raise wrong("expected the traits under `identify`; it has no `properties`")
        return self


class Expected(StrEnum):
    IN = "in"
    OUT = "out"


class SegmentTest(Part):
    """At `now`, after all that is `given` (or was in the test named by `same_as`), the person is in or out."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    now: Time
    given: Annotated[tuple[Given, ...], Field(max_length=1000)] | None = None
    same_as: str | None = None
    expect: Expected

    @model_validator(mode="after")
    def _one_history(self) -> Self:
        if (self.given is None) == (self.same_as is None):
            raise wrong("expected `given` or `same_as`")
        late = next((one.at for one in self.given or () if one.at > self.now), None)
        if late is not None:
            raise wrong(f"expected everything given to happen by `now` (found {late.isoformat()})")
        return self


class Segment(Definition):
    """Who belongs together. `when` is evaluated on every event, and whenever time alone changes its answer."""

    kind: ClassVar[str] = "segment"

    segment: Name
    title: Titles
    description: Annotated[str, Field(max_length=2000)] | None = None
    when: Annotated[Rule, BeforeValidator(few_leaves)]
    tests: Annotated[tuple[SegmentTest, ...], Field(max_length=MAX_TESTS)] = ()

    @model_validator(mode="after")
    def _tests_refer_to_one_another(self) -> Self:
        names = [test.name for test in self.tests]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise wrong(f"expected tests of different names (found {twice!r} twice)")
        for test in self.tests:
            if test.same_as is not None:
                history = self.history(test)
                if any(one.at > test.now for one in history):
                    raise wrong(f"test {test.name!r}: expected everything given to happen by `now`")
        return self

    def references(self) -> Sequence[Reference]:
        return references(self.when, ("when",))

    @property
    def version(self) -> int:
        """32 bits of the rule's hash: the same rule has the same version, whatever its titles, tests and comments say."""
        return short_hash(canonical(self.when))

    def history(self, test: SegmentTest) -> tuple[Given, ...]:
        """What is given in `test`, looked up through `same_as`. Raises PydanticCustomError if that names no test with a history."""
        if test.given is not None:
            return test.given
        source = next((other for other in self.tests if other.name == test.same_as), None)
        if source is None or source.given is None:
            raise wrong(f"test {test.name!r}: `same_as` must name a test with `given` (found {test.same_as!r})")
        return source.given


def epoch_ms(at: datetime) -> int:
    """An aware time in epoch milliseconds, exactly."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1000 + at.microsecond // 1000
