"""Whatever stands in a folder, reading it answers with mistakes that name a place, and never ends in another exception."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploy.cli.definitions import SHIPPED
from services.messaging.channels.registry import HEADS
from services.messaging.domain.planning import plans
from shared.definitions.consent import ConsentPolicy
from shared.definitions.folder import read_folder
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead
from shared.definitions.yaml_text import DefinitionError
from shared.rules.compiler import compiled

FILES = sorted(path for path in SHIPPED.rglob("*") if path.suffix in (".yaml", ".liquid"))
PIECES = [
    *("{{ ", " }}", "{% ", " %}", "{% if a %}", "{% endif %}", "{% include 'a' %}", "{% render x %}", "{{ person.a | b: 1, c: 2 }}"),
    *(
        "segment: ",
        "journey: a",
        "- ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "\n",
        "  ",
        "---\n",
        "&a ",
        "*a",
        "!!set ",
        "<<: ",
        "|\n",
        "null",
    ),
    *(
        "1e99",
        "-0",
        "99999999999999999999999",
        "0d",
        "999999d",
        "\t",
        "é",
        "\u2028",
        "\x00",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin1"),
    ),
]
changes = st.lists(st.tuples(st.sampled_from(FILES), st.integers(0, 5_000), st.integers(0, 40), st.sampled_from(PIECES)), max_size=6)


@given(changes, st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=60))
def test_a_folder_that_was_scribbled_on_is_read_or_refused_by_name(
    changes: list[tuple[Path, int, int, str]], yaml: bytes | None, liquid: bytes | None
) -> None:
    texts = {path: path.read_text() for path in FILES}
    for path, place, length, piece in changes:
        at = place % (len(texts[path]) + 1)
        texts[path] = texts[path][:at] + piece + texts[path][at + length :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in texts.items():
            (folder / path.name).write_text(text)
        for file, junk in (("junk.yaml", yaml), ("junk.en.liquid", liquid)):
            if junk is not None:
                (folder / file).write_bytes(junk)
        found = read_folder(folder, heads=HEADS)
        for problem in found.problems:
            assert problem.message
            assert 1 <= problem.line <= (folder / problem.file).read_bytes().count(b"\n") + 1
        try:
            found.needed(Segment, Journey, TemplateHead, ConsentPolicy)
        except DefinitionError:
            return
        compiled(found.of(Segment), "UTC")  # what nothing is wrong with can be run
        plans(found.of(Journey), found.templates)
