"""`rapport check`, `rapport test` and `rapport schema`, on the definitions that ship and on broken ones."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import definitions
from services.messaging.channels.registry import HEADS
from shared.definitions.kinds import KINDS
from shared.definitions.schema import schema_files
from shared.testing.installation import partitions

app = typer.Typer()
app.command("check")(definitions.check)
app.command("test")(definitions.run_tests)
app.command("schema")(definitions.schema)

SEGMENT = """segment: buyers
title: {zh: 买家, en: Buyers}
when: {did: Order Completed, within: 2d}
tests:
  - name: bought yesterday
    now: 2026-06-02T09:00:00Z
    given: [{at: 2026-06-01T09:30:00Z, track: Order Completed}]
    expect: in
  - name: bought the day before
    now: 2026-06-03T08:59:59Z
    same_as: bought yesterday
    expect: out
"""


def rapport(*argv: str, **env: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, argv, env=env)
    return result.exit_code, result.output


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_what_ships_passes_its_own_tests_in_any_zone(zone: str) -> None:
    code, output = rapport("test", RAPPORT_TIMEZONE=zone)
    assert code == 0, output
    assert "0 failed" in output


def test_no_kafka_need_say_how_many_partitions_there_are() -> None:
    """The tests' own process is told in conftest.py; the command `rapport` is not."""
    with partitions(0):
        code, output = rapport("test")
    assert code == 0, output
    assert "0 failed" in output


def test_what_ships_is_well_formed() -> None:
    code, output = rapport("check")
    assert code == 0, output
    assert "4 segments" in output


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_schemas_that_ship_are_those_of_the_models(kind: str) -> None:
    name = f"{kind}.schema.json"
    assert (definitions.SHIPPED / "schema" / name).read_text() == schema_files(KINDS, HEADS)[name], "run `rapport schema`"


def test_schemas_are_written_where_one_says(tmp_path: Path) -> None:
    code, _ = rapport("schema", str(tmp_path / "new"))
    assert code == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(schema_files(KINDS, HEADS))


def test_a_failing_test_is_told_with_its_line_and_what_happened(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SEGMENT)
    code, output = rapport("test", str(tmp_path))
    assert code == 1
    assert "ok    buyers: bought yesterday" in output
    assert "FAIL  buyers: bought the day before: expected out, found in (a.yaml:9)" in output
    assert "entered at 2026-06-01T09:30:00.000+00:00" in output
    assert "1 passed, 1 failed" in output


def test_what_is_given_at_one_instant_happens_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The eleventh and later ones too: of what is said at one instant, the last holds."""
    said = "".join(f"      - {{at: 2026-06-01T09:30:00Z, identify: {{plan: p{number}}}}}\n" for number in range(120))
    (tmp_path / "a.yaml").write_text(
        "segment: planned\ntitle: {zh: a, en: b}\nwhen: {trait: plan, is: p119}\ntests:\n"
        f"  - name: the last plan\n    now: 2026-06-01T09:30:00Z\n    expect: in\n    given:\n{said}"
    )
    code, output = rapport("test", str(tmp_path))
    assert code == 0, output
    assert "1 passed, 0 failed" in output


def test_check_names_every_problem_and_fails(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SEGMENT.replace("within: 2d", "withn: 2d"))
    (tmp_path / "b.yaml").write_text("what: ever\n")
    code, output = rapport("check", str(tmp_path))
    assert code == 1
    assert "a.yaml:3: when.withn: unknown key" in output
    assert "b.yaml:1: is of no known kind" in output
    assert "2 problems" in output


def test_a_journey_on_a_segment_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SEGMENT)
    (tmp_path / "j.yaml").write_text(
        "journey: hello\ntitle: {zh: 好, en: Hello}\nenter: {on: segment.entered, segment: buyer}\n"
        "steps:\n  - send: {channel: email, template: hello}\n"
    )
    code, output = rapport("check", str(tmp_path))
    assert code == 1
    assert "j.yaml:3: enter.segment: there is no segment 'buyer'; there are buyers" in output


def test_an_unknown_time_zone_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SEGMENT)
    code, output = rapport("test", str(tmp_path), "--timezone", "Mars/Olympus")
    assert (code, "is no time zone" in output) == (1, True)


def test_check_looks_endpoints_of_templates_up_in_the_channels_file(tmp_path: Path) -> None:
    (tmp_path / "crm.secret").write_text("whsec_" + "QUJD" * 8)
    (tmp_path / "ops.key").write_text("0d2c7d0e-aaaa-bbbb")
    file = tmp_path / "channels.yaml"
    webhook = "webhook: {crm: {url: 'https://example.com/', secret_file: crm.secret}}\n"
    file.write_text(webhook + "wecom_group: {ops: {key_file: ops.key}}\n")
    assert rapport("check", "--channels", str(file))[0] == 0
    file.write_text(webhook)
    code, output = rapport("check", RAPPORT_CHANNELS_FILE=str(file))
    assert code == 1
    assert "templates/tell_staff.zh.liquid:6: to: there is no endpoint 'ops' of channel wecom_group; there are none" in output
    assert "1 problem" in output
    file.write_text(webhook.replace("secret_file", "secret"))
    code, output = rapport("check", "--channels", str(file))
    assert code == 1
    assert "channels.yaml:1: webhook.crm.secret: unknown key 'secret'" in output
