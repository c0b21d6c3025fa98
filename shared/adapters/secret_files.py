"""Secrets: a variable holds one, or names the file that does, so that no secret need stand in the environment."""

from pathlib import Path

from pydantic import SecretStr


def readable(name: str, path: Path) -> None:
    """Raise ValueError, naming the variable, unless `path` is a file that this process may read."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{name} names {path}, which cannot be read: {error.strerror}") from None


def secret(name: str, value: SecretStr | None, file: Path | None) -> SecretStr | None:
    """The secret of the variable `name` or of the file that `<name>_FILE` names, without its line break. Raises ValueError."""
    if file is None:
        return value
    if value is not None:
        raise ValueError(f"{name} and {name}_FILE are both set: keep one of them")
    readable(f"{name}_FILE", file)
    found = file.read_text(errors="replace").rstrip("\r\n")
    if not found:
        raise ValueError(f"{name}_FILE names {file}, which is empty")
    return SecretStr(found)
