"""What templates and people's values can do at worst: one message fails, and it does so soon."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import MOST_BYTES, NotRendered, Rendered, render
from shared.definitions.liquid_limits import _replaced
from shared.definitions.liquid_text import Limited
from shared.definitions.yaml_text import DefinitionError
from tests.unit.test_messaging_mail import NOW, template

FILTERS = sorted(Limited().filters)
VALUES = ["1e999999999", "1e39", "-3", "9" * 60, '"abc"', "[1,[2]]", '{"a":1}', "true", '"\\u0000%ED%A0"', "[]"]


def rendered(text: str, html: str | None = None, **traits: str) -> Rendered | NotRendered:
    person = {name: msgspec.Raw(value.encode()) for name, value in traits.items()}
    return render(template(text, html=html), person, None, NOW, lambda: 0.0)


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
    assert (reason, detail) == (Reason.TEMPLATE_FAILED, "t.en.liquid: join is given a range or a list of more than 2000 values")


LARGE = "{% capture x %}{% for i in (1..1900) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endcapture %}"
"""95 KB, far below what a template may hold."""
PIECES = "{% capture x %}{% for i in (1..1900) %}{{ i }}a,{{ i }}b,{{ i }}c,{{ i }}d,{% endfor %}{% endcapture %}"


@pytest.mark.parametrize(
    "text",
    [
        LARGE + "{{ x | replace: 'a', x | size }}",
        LARGE + "{{ x | replace: '', x | size }}",
        LARGE + "{{ (1..2000) | join: x | size }}",
        LARGE + "{{ x | split: '' | join: x | size }}",
        PIECES + "{{ x | split: ',' | uniq | size }}",
    ],
)
def test_no_call_of_one_filter_makes_gigabytes_or_takes_minutes(text: str) -> None:
    """Whatever the clock says: a call is not interrupted."""
    tracemalloc.start()
    made = render(template(text), {}, None, NOW, lambda: 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert why(made)[0] is Reason.TEMPLATE_FAILED
    assert peak < 50_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ person.a | replace: 'a', 'bb' }}", "bbbbbb"),
        ("{{ person.a | replace: 'a' }}", ""),
        ("{{ (1..3) | join: ', ' }}", "1, 2, 3"),
        ("{{ person.a | split: '' | join }}", "a a a"),
    ],
)
def test_filters_do_their_work_within_the_bounds(text: str, expected: str) -> None:
    made = render(template(text), {"a": msgspec.Raw(b'"aaa"')}, None, NOW, lambda: 0.0)
    assert isinstance(made, Rendered)
    assert made.text.strip() == expected


@given(st.text("ab", max_size=8), st.text("ab", max_size=3), st.text("ab", max_size=5))
def test_what_replace_might_make_is_never_less_than_what_it_makes(text: str, seek: str, put: str) -> None:
    assert len(text.replace(seek, put)) <= len(text) + _replaced(len(text), len(seek), len(put))


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
