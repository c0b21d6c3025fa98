"""Where nothing may be left out (RAPPORT_REQUIRE_ALL=1), a skip is a failure; elsewhere it says what is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.settings import PROJECT

SKIPPING = {
    "in the test": "import pytest\n\ndef test_one():\n    pytest.skip('not run: needs a thing')\n",
    "by a mark": "import pytest\n\n@pytest.mark.skip(reason='not run: needs a thing')\ndef test_one():\n    pass\n",
    "by the module": "import pytest\n\npytest.skip('not run: needs a thing', allow_module_level=True)\n",
}


def _pytest(file: Path, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "-p", "no:cacheprovider", "-p", "tests.conftest", str(file)]
    clean = {name: value for name, value in os.environ.items() if name not in ("RAPPORT_REQUIRE_ALL", "PYTEST_ADDOPTS")}
    return subprocess.run(argv, cwd=PROJECT, env=clean | env, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("how", SKIPPING)
def test_a_skip_says_what_is_needed_and_fails_where_none_is_allowed(how: str, tmp_path: Path) -> None:
    file = tmp_path / "test_skipping.py"
    file.write_text(SKIPPING[how])
    allowed, forbidden = _pytest(file), _pytest(file, RAPPORT_REQUIRE_ALL="1")
    assert "not run: needs a thing" in allowed.stdout
    assert "1 skipped" in allowed.stdout
    assert forbidden.returncode == (2 if how == "by the module" else 1)
    assert "allows no skip: Skipped: not run: needs a thing" in forbidden.stdout
