"""The READMEs speak of all that is there, and of nothing that is not."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy.local.settings import PROJECT
from shared.contracts.rights import PROCESSES
from shared.contracts.topics import REPLAYED_BY_STAGE, TOPICS

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:tests|deploy|services|shared)/[\w./-]+\.\w+)`")


def papers() -> list[Path]:
    told = subprocess.run(["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.split()
    return [PROJECT / name for name in told] or [one for one in PROJECT.rglob("*.md") if not {".venv", "node_modules"} & set(one.parts)]


@pytest.mark.parametrize("room", ["shared/contracts", "shared/runtime", "shared/worker"])
def test_a_module_table_names_every_module(room: str) -> None:
    text = (PROJECT / room / "README.md").read_text()
    modules = {path.name for path in (PROJECT / room).glob("*.py")} - {"__init__.py"}
    assert {name for name in modules if f"`{name}`" not in text} == set()
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+\.py)`", table)) - modules == set()


@pytest.mark.parametrize("service", [name for name in PROCESSES if (PROJECT / "services" / name).is_dir()])
def test_a_service_tells_every_topic_that_it_reads_or_writes(service: str) -> None:
    text = (PROJECT / "services" / service / "README.md").read_text()
    names = set(PROCESSES[service])
    topics = [topic.name for topic in TOPICS if names & {*topic.writers, *topic.readers}]
    short = {name.removeprefix("rapport.").removesuffix(".v1") for name in topics}
    told = text.replace("<stage>.replayed", " ".join(REPLAYED_BY_STAGE.values()))
    assert {name for name in short if name not in told} == set()


@pytest.mark.parametrize("paper", papers(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_what_a_paper_leads_to_is_there(paper: Path) -> None:
    text = paper.read_text()
    assert [to for to in LINK.findall(text) if not (paper.parent / to).exists()] == []
    assert [to for to in PATH.findall(text) if not (PROJECT / to).exists()] == []
