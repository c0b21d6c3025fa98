"""What unit tests of several modules need."""

import pytest

from shared.definitions.template import Templates
from tests.unit.dispatcher_world import write_templates


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Those of the dispatcher's tests."""
    return write_templates(tmp_path_factory.mktemp("templates"))
