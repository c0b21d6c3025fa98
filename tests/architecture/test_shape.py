"""The shape of the code: who imports whom, how long things are, what a domain may touch, what no file may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.settings import PROJECT
from tests.architecture.sources import python_files

ROOTS = ("services", "shared", "deploy", "tests")
LONGEST_FILE = 400
LONGEST_MAIN = 90
LONGEST_FUNCTION = 60
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
IMPURE = {
    *("os", "sys", "time", "random", "secrets", "logging", "structlog", "socket", "asyncio", "threading", "subprocess", "tempfile"),
    *("httpx", "requests", "aiohttp", "redis", "confluent_kafka", "aiokafka", "faust", "clickhouse_connect", "aiosmtplib", "fastapi"),
    *("prometheus_client", "pydantic_settings"),
}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("time", "time"), ("uuid", "uuid4"), ("uuid", "uuid1")}
# Split, so that this file does not hold what it forbids.
PLACES = re.compile("|".join(("/wo" + "rk/", "/ro" + "ot/", "/Us" + r"ers/\w", "/ho" + r"me/\w")))
REGISTRIES = re.compile(
    "|".join(
        ("py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.org", "maven" + r"\.org", "proxy\\.gol" + "ang", "docker" + r"\.io/")
    )
)


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def test_services_meet_on_topics_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(lint)], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_is_too_long() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for root in ROOTS for path, _ in python_files(root)}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}
    mains = {path: lines for path, lines in lengths.items() if path.startswith("services/") and path.endswith("/main.py")}
    assert {path: lines for path, lines in mains.items() if lines > LONGEST_MAIN} == {}


def test_no_function_is_too_long() -> None:
    """Lines of a function, those of functions inside it apart (a router is a list of its endpoints)."""
    found = {
        f"{relative(path)}:{node.name}": own_lines(node)
        for root in ROOTS
        for path, tree in python_files(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in found.items() if lines >= LONGEST_FUNCTION} == {}


def own_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    inner = [node for node in ast.walk(function) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node is not function]
    covered = {line for node in inner for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return len(set(range(function.lineno, (function.end_lineno or function.lineno) + 1)) - covered)


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [relative(path) for root in ROOTS for path, _ in python_files(root) if {path.stem, path.parent.name} & NO_NAMES] == []


def test_a_domain_touches_nothing_but_values() -> None:
    found = [
        f"{relative(path)}:{line} {what}"
        for root in (
            *(f"services/{one.name}/domain" for one in (PROJECT / "services").iterdir() if one.is_dir()),
            "shared/contracts",
            "shared/rules",
        )
        for path, tree in python_files(root)
        for line, what in impurities(tree)
    ]
    assert found == []


def impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Imports of what does I/O, tells the time or draws lots; calls that do."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, one.name) for one in names if one.name.split(".")[0] in IMPURE)
            case ast.ImportFrom(module=str(module)):
                if module.split(".")[0] in IMPURE or ".adapters" in module:
                    yield node.lineno, module
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attribute)) if (owner, attribute) in CLOCKS:
                yield node.lineno, f"{owner}.{attribute}()"
            case ast.Call(func=ast.Name(id="open" | "print" as name)):
                yield node.lineno, f"{name}()"
            case _:
                pass


def test_no_file_names_a_place_of_one_machine_or_the_host_of_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        path = PROJECT / name
        if not path.is_file() or path.suffix in {".gz", ".png", ".jpg"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if PLACES.search(line) or REGISTRIES.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    assert found == []


def test_the_readme_of_messaging_names_each_of_its_modules() -> None:
    room = PROJECT / "services" / "messaging"
    readme = (room / "README.md").read_text()
    modules = [path for path, _ in python_files("services/messaging") if path.name not in ("__init__.py", "main.py")]
    assert [relative(path) for path in modules if not re.search(rf"\b{path.name}\b", readme)] == []
