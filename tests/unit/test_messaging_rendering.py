"""What templates and people's values can do at worst: one message fails, and it does so soon."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import MOST_BYTES, NotRendered, Rendered, render
from shared.definitions.liquid_text import Limited
from shared.definitions.yaml_text import DefinitionError
from tests.unit.test_messaging_mail import NOW, template

FILTERS = sorted(Limited().filters)
VALUES = ["1e999999999", "1e39", "-3", "9" * 60, '"abc"', "[1,[2]]", '{"a":1}', "true", '"\\u0000%ED%A0"', "[]"]


def rendered(text: str, html: str | None = None, **traits: str) -> Rendered | NotRendered:
    person = {name: msgspec.Raw(value.encode()) for name, value in traits.items()}
    return render(template(text, html=html), person, None, NOW, time.thread_time)


def why(made: Rendered | NotRendered) -> tuple[Reason, str]:
    assert isinstance(made, NotRendered)
    return made.reason, made.detail


@pytest.mark.parametrize(
    ("text", "traits", "error"),
    [
        ("{{ person.a | sum }}", {"a": '"abc"'}, "InvalidOperation"),
        ("{{ person.a | base64_decode }}", {"a": '"uw=="'}, "UnicodeDecodeError"),
        ("{{ person.a | date: person.b }}", {"a": '"9999999999999999999"', "b": '"%Y"'}, "OverflowError"),
        ("{{ person.a | compact: person.b }}", {"a": '{"x":1}', "b": '"y"'}, "KeyError"),
    ],
)
def test_an_error_that_is_not_liquids_own_fails_the_message_and_names_no_value(text: str, traits: dict[str, str], error: str) -> None:
    reason, detail = why(rendered(text, **traits))
    assert reason is Reason.TEMPLATE_FAILED
    assert detail in (f"t.en.liquid: {error}", "t.en.liquid: FilterArgumentError")


@given(
    st.sampled_from(FILTERS),
    st.lists(
        st.sampled_from(["1e999999999", "1e39", "-3", "9" * 60, '"abc"', "[1,[2]]", '{"a":1}', "true", '"\\u0000%ED%A0"', "[]"]), min_size=3
    ),
    st.integers(0, 2),
)
def test_no_filter_and_no_value_raises(name: str, values: list[str], arguments: int) -> None:
    given_too = "".join(f"{':' if n == 0 else ','} person.v{n}" for n in range(arguments))
    try:
        made = rendered(f"{{{{ person.a | {name}{given_too} }}}}", a=values[2], v0=values[0], v1=values[1])
    except DefinitionError:
        return  # no template that could have been loaded
    assert isinstance(made, Rendered | NotRendered)


@pytest.mark.parametrize("filter_name", ["round", "floor", "ceil", "abs", "plus: 1", "size"])
def test_a_number_without_end_counts_as_absent(filter_name: str) -> None:
    text = f"{{{{ person.a | {filter_name} }}}}"
    assert rendered(text, a="1e999999999") == rendered(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in (1..1500) %}{% assign x = person.a | split: '' | sort | join: ',' | upcase | downcase | reverse %}{% endfor %}",
        "{% for a in (1..2000) %}{{ person.a | replace: 'a', 'aaaaaaaaaa' | replace: 'a', '' }}{% endfor %}",
    ],
)
def test_a_template_that_works_without_end_fails_soon(text: str) -> None:
    ticks = iter(range(1_000_000))
    person = {"a": msgspec.Raw(b'"' + b"a" * 500 + b'"')}
    reason, detail = why(render(template(text), person, None, NOW, lambda: next(ticks) / 1000))
    assert (reason, detail) == (Reason.TEMPLATE_FAILED, "t.en.liquid: rendering takes more than 50 ms")


def test_a_range_of_a_million_is_given_to_no_filter() -> None:
    reason, detail = why(rendered("{{ (1..person.a) | join: ',' }}", a="1000000000"))
    assert (reason, detail) == (Reason.TEMPLATE_FAILED, "t.en.liquid: a range of more than 2000 numbers")


def test_a_message_has_a_size_at_most_all_its_parts_together() -> None:
    part = "{% for a in (1..1100) %}{{ person.a }}{% endfor %}"
    small = rendered(part, a='"' + "x" * 100 + '"')
    assert isinstance(small, Rendered)
    assert len(small.text) == 110_000
    reason, detail = why(rendered(part, part, a='"' + "x" * 100 + '"'))
    assert (reason, detail) == (Reason.TEMPLATE_FAILED, f"t.en.liquid: the message is larger than {MOST_BYTES} bytes")


def test_captures_have_the_same_bounds() -> None:
    ticks = iter(range(1_000_000))
    text = "{% capture c %}{% for a in (1..2000) %}x{% endfor %}{% endcapture %}{{ c }}"
    assert why(render(template(text), {}, None, NOW, lambda: next(ticks) / 1000))[0] is Reason.TEMPLATE_FAILED


def test_a_template_of_a_usual_length_is_far_from_the_bounds() -> None:
    ticks = iter(range(1_000_000))
    text = "Dear {{ person.name | default: 'you' | capitalize }},\n" * 5
    assert isinstance(render(template(text, html=text), {}, None, NOW, lambda: next(ticks) / 10_000), Rendered)
