"""What a process says when it cannot start."""

from collections.abc import Callable

import pytest

from shared.adapters.environment import CANNOT_START


def refusal(start: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """What `start` wrote on standard error before it ended with the code for a setting or a definition to be mended."""
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == CANNOT_START
    return capsys.readouterr().err
