"""The OpenAPI document says what the service does: generated requests get documented answers, and never a 5xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from services.ingest.domain.paths import TRACKING
from tests.contract.ingest_rig import BASIC, Rig

RIG = Rig()
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", RIG.app).exclude(path_regex=r"^/v1/[a-z]$")  # aliases of the long paths
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]  # schemathesis publishes no types
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_requests_get_documented_answers(case: schemathesis.Case) -> None:
    # A bad item fails alone, so a batch that breaks the schema may well be a 200: negative data is not checked for refusal.
    case.call_and_validate(headers=BASIC, checks=CHECKS)


@pytest.mark.parametrize("path", sorted(path for path in TRACKING if not path.endswith("/")))
def test_every_tracking_path_is_documented(path: str) -> None:
    assert path in RIG.app.openapi()["paths"]
