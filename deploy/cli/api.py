"""The API of an installation, as commands ask it."""

from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.cli.folder import home_folder
from deploy.local import env_file

ANSWER_SECONDS: Final = 30.0


class QuerySettings(BaseSettings):
    """Read from RAPPORT_<NAME>; without them, from the env file of the system that runs here."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_")

    query_url: str | None = Field(None, description="where the query API is; without it, that of the system that runs here")
    query_key: SecretStr | None = Field(
        None, description="a query key with the scope that the command needs; without it, that of the system that runs here"
    )


class Refused(Exception):
    """The API refused: the text says why. `code`: of the problem document; `problems`: what is wrong with definitions."""

    def __init__(self, message: str, code: str = "", problems: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.code, self.problems = code, problems or []


class Unreachable(Refused):
    """The API does not answer, or not now. Whether it has done what was asked is not known. `told`: its Retry-After, "" without one."""

    told: str = ""


@dataclass(frozen=True)
class Api:
    """The query API. `client`: keeps connections, for a command that asks often."""

    url: str
    key: str = field(repr=False)
    client: httpx.Client | None = field(default=None, repr=False)

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, again: str | None = None, seconds: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        """The answer. `again`: an Idempotency-Key. Raises Refused, Unreachable."""
        headers = {"authorization": f"Bearer {self.key}"} | ({"idempotency-key": again} if again else {})
        try:
            at = f"{self.url}/api/v1/{path}"
            if self.client is None:
                answer = httpx.request(method, at, headers=headers, json=body, timeout=seconds)
            else:
                answer = self.client.request(method, at, headers=headers, json=body, timeout=seconds)
        except httpx.HTTPError as error:
            raise Unreachable(f"the query API at {self.url} does not answer: {type(error).__name__}") from None
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise Unreachable(f"what answers at {self.url} is no query API (status {answer.status_code})") from None
        if answer.status_code >= 400:
            kind = Unreachable if answer.status_code in (429, 500, 502, 503, 504) else Refused
            refused = kind(str(found.get("message", answer.status_code)), str(found.get("code", "")), found.get("problems"))
            if isinstance(refused, Unreachable):
                refused.told = answer.headers.get("retry-after", "")
            raise refused
        return found


def api() -> Api:
    """That of the installation that the environment names; ends the command with a sentence when none is."""
    asked, local = QuerySettings(), env_file.read(home_folder().env)
    url = asked.query_url or local.get("RAPPORT_QUERY_URL")
    key = asked.query_key.get_secret_value() if asked.query_key is not None else local.get("RAPPORT_QUERY_KEY")
    if url is None or key is None:
        typer.echo("which installation? Set RAPPORT_QUERY_URL and RAPPORT_QUERY_KEY, or start Rapport here with `make run`", err=True)
        raise typer.Exit(1)
    return Api(url.rstrip("/"), key)
