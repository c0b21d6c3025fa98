"""Under compose query and control come to ClickHouse as a user who may only read, within limits that it cannot lift."""

import xml.etree.ElementTree as Xml

import pytest
import yaml

from deploy.local.clickhouse import ClickHouse
from deploy.local.clickhouse_server.users import READER_SETTINGS
from deploy.local.settings import PROJECT
from services.query.settings import Settings
from shared.adapters.store_settings import Address
from shared.reading.history import ClickHouseHistory
from shared.reading.questions import Question

MEGABYTE = 1024 * 1024
QUERY = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["query"]["environment"]
READER = Xml.parse(PROJECT / "deploy/images/clickhouse/users.xml").getroot().find("profiles/reader")


def asked() -> dict[str, int]:
    """What the query service asks for under compose."""
    defaults = {name: Settings.model_fields[name].default for name in ("query_seconds", "query_rows")}
    return {
        "max_execution_time": defaults["query_seconds"],
        "max_result_rows": defaults["query_rows"],
        "max_memory_usage": int(QUERY["RAPPORT_QUERY_MEMORY_MB"]) * MEGABYTE,
    }


@pytest.mark.real
async def test_the_reader_is_answered_with_the_settings_that_the_query_service_sends(clickhouse: ClickHouse) -> None:
    wanted = asked()
    history = ClickHouseHistory(
        Address(clickhouse.url.replace("http://", "http://reader@")),
        wanted["max_execution_time"],
        wanted["max_result_rows"],
        wanted["max_memory_usage"] // MEGABYTE,
    )
    try:
        assert await history.rows(Question("ping", "SELECT {x:UInt8} AS one", {"x": 1})) == [{"one": 1}]
    finally:
        history.close()


def test_what_the_query_service_asks_for_is_within_the_readers_limits() -> None:
    assert READER is not None
    for name, value in asked().items():
        most = READER.findtext(f"constraints/{name}/max")
        assert most is not None
        assert 0 < value <= int(most)


def test_the_reader_of_the_official_image_has_the_limits_of_the_embedded_server() -> None:
    assert READER is not None
    assert READER.findtext("readonly") == "2"
    for name, value in READER_SETTINGS.items():
        if name != "max_threads":
            assert (READER.findtext(name), READER.findtext(f"constraints/{name}/max")) == (value, value)
