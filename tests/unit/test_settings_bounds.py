"""Every number that is read from the environment has bounds, and one beyond them is refused by name."""

import types
from typing import Any, Union, cast, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from shared.adapters.environment import read_environment
from tests.architecture.settings_found import settings_found
from tests.unit.refusals import refusal


def _numeric(field: FieldInfo) -> type[int] | type[float] | None:
    """`int` or `float`, if that is what the setting is where it is set."""
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, types.UnionType) else (field.annotation,)
    return next((kind for kind in (int, float) if kind in kinds), None)


def _numbers() -> list[Any]:
    return [
        pytest.param(model, name, id=f"{model.__module__}.{name}")
        for model in settings_found()
        for name, field in model.model_fields.items()
        if _numeric(field) is not None
    ]


def _bounds(field: FieldInfo) -> tuple[list[float], list[float]]:
    """The numbers just allowed, and the nearest that are not."""
    step = 1 if _numeric(field) is int else 1e-6
    found: list[tuple[float, float]] = []
    for bound in field.metadata:
        match bound:
            case Ge():
                least = cast(float, bound.ge)
                found.append((least, least - step))
            case Gt():
                beyond = cast(float, bound.gt)
                found.append((beyond + step, beyond))
            case Le():
                most = cast(float, bound.le)
                found.append((most, most + step))
    return [allowed for allowed, _ in found], [beyond for _, beyond in found]


@pytest.mark.parametrize(("model", "name"), _numbers())
def test_a_number_beyond_its_bounds_is_refused_by_name(
    model: type[BaseSettings], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed, beyond = _bounds(model.model_fields[name])
    assert len(allowed) == len(beyond) == 2, "a number has a least and a largest value"
    variable = f"RAPPORT_{name.upper()}"
    for value in [*map(str, beyond), "nan", "much"]:
        monkeypatch.setenv(variable, value)
        assert f"one cannot start: {variable}: " in refusal(lambda: read_environment("one", model), capsys)
    for number in allowed:
        # what is not set beside it is refused, or another setting that does not go with it; not the number itself
        monkeypatch.setenv(variable, str(number))
        try:
            read_environment("one", model)
        except SystemExit:
            assert f"{variable}: Input should be" not in capsys.readouterr().err
