"""The secret that signs the keys of the installation of this folder: made once, or the one that the environment names."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from deploy.local.settings import Home
from shared.adapters.key_settings import NAME
from shared.adapters.secret_files import secret
from shared.contracts.key_signature import KeySecrets

FILE = f"{NAME}_FILE"


def variables(home: Home) -> dict[str, str]:
    """RAPPORT_KEY_SECRET_FILE for the processes; the file is made if it is absent, readable by its owner only.

    Nothing where the environment names a secret of its own: processes inherit that, and no file needs it.
    """
    if _given(home):
        return {}
    path = home.key_secret
    if not path.exists():
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
            file.write(f"{secrets.token_hex(32)}\n")
    return {FILE: str(path.resolve())}


def is_new(home: Home) -> bool:
    """Whether `variables` would make the secret now: keys that the topic holds already are then of a version that signed none."""
    return not _given(home) and not home.key_secret.exists()


def of_home(home: Home) -> KeySecrets:
    """The secrets of the installation of this folder. Raises ValueError."""
    found = of(_given(home) or variables(home))
    assert found is not None  # one of both names one always
    return found


def of(told: Mapping[str, str]) -> KeySecrets | None:
    """The secrets that these variables say, whatever the environment does; None where they say none. Raises ValueError."""
    value, file = told.get(NAME), told.get(FILE)
    found = secret(NAME, SecretStr(value) if value else None, Path(file) if file else None)
    return None if found is None else KeySecrets.parse(found.get_secret_value())


def _given(home: Home) -> dict[str, str]:
    """What the environment names. A shell that has sourced .rapport/env names the file of this folder: that is none of its own."""
    found = {name: os.environ[name] for name in (NAME, FILE) if os.environ.get(name)}
    return {} if found == {FILE: str(home.key_secret.resolve())} else found
