"""Rejected events go back through ingest, which alone knows what an event must look like."""

import httpx
from pydantic import SecretStr

from shared.http.reasons import RETRY_SECONDS, Code, Refused

SECONDS = 10.0
PATH = "/internal/v1/replay"


class IngestReplays:
    """Posts a rejected record, as it stands in the log, to ingest's replay."""

    def __init__(self, url: str | None, token: SecretStr | None) -> None:
        self._client: httpx.AsyncClient | None = None
        if url is not None and token is not None:
            bearer = {"authorization": f"Bearer {token.get_secret_value()}", "content-type": "application/json"}
            self._client = httpx.AsyncClient(base_url=url, headers=bearer, timeout=SECONDS, trust_env=False)

    async def replay(self, record: bytes) -> None:
        """Return when ingest has taken the event. Raises Refused: 409 if it is still invalid, 503 if ingest does not answer."""
        if self._client is None:
            message = "replaying rejected events needs RAPPORT_INGEST_URL and RAPPORT_INTERNAL_TOKEN"
            raise Refused(503, Code.REPLAY_NOT_SET_UP, message)
        try:
            answer = await self._client.post(PATH, content=record)
        except httpx.HTTPError as error:
            raise _away(f"ingest does not answer: {type(error).__name__}") from error
        if answer.status_code == 200:
            return
        if answer.status_code == 400:
            raise Refused(409, Code.REPLAY_REFUSED, f"still not acceptable: {_message(answer)}")
        if answer.status_code in (401, 404):
            raise Refused(503, Code.REPLAY_NOT_SET_UP, "ingest does not know this service's RAPPORT_INTERNAL_TOKEN")
        raise _away(f"ingest answered {answer.status_code}")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _away(message: str) -> Refused:
    return Refused(503, Code.INGEST_UNAVAILABLE, message, retry_after=RETRY_SECONDS)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return "ingest does not say why"
