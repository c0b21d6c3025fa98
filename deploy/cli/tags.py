"""Tags given and taken by hand: from how somebody names a person to the event that an SDK would send."""

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from deploy.cli.api import Api, Refused, Unreachable
from deploy.demo.sdk import told_pause
from shared.contracts import ids

LONGEST_ID: Final = 1024
"""Characters; the API answers no longer id."""
CHUNK: Final = 1 << 20
PATIENCE_SECONDS: Final = 60.0
"""So long the query API may not answer while a person is looked up."""
PAUSE_SECONDS: Final = 1.0
HIDDEN: Final = "***"
_NOBODY: Final = frozenset({"unknown_profile", "invalid_id", "invalid_request"})
_PROFILE_ID: Final = re.compile(r"[a-z][a-z0-9_]*:.+")


class MaskedError(Exception):
    """The query key may not see whom an id leads to."""


@dataclass(frozen=True)
class Word:
    """What is said of people by one command: `event` (Tag Added or Tag Removed) of `tag`.

    `run`: of this command alone. Who is named twice in a file is spoken of once, and the same file on another day says it anew.
    """

    event: str
    tag: str
    by: str
    reason: str = ""
    until: str | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def properties(self) -> dict[str, str]:
        said = {"tag": self.tag, "by": self.by}
        return said | ({"reason": self.reason} if self.reason else {}) | ({"until": self.until} if self.until else {})

    def call(self, profile_id: str, now: datetime) -> dict[str, Any]:
        """The track call about the person of that profile id."""
        at = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        once = hashlib.sha256(f"{self.run}\0{profile_id}".encode()).hexdigest()[:40]
        said = {"type": "track", "event": self.event, "messageId": f"tag-{once}", "timestamp": at, "properties": self.properties}
        return said | _identity(profile_id)


def _identity(profile_id: str) -> dict[str, Any]:
    kind, _, value = profile_id.partition(":")
    if ids.is_user(profile_id):
        return {"userId": value}
    if ids.is_anonymous(profile_id):
        return {"anonymousId": value}
    return {"context": {"externalIds": [{"id": value, "type": kind, "collection": "users", "encoding": "none"}]}}


@dataclass(frozen=True)
class Lookup:
    """Finds people by the query API. While it does not answer, it is asked again for PATIENCE_SECONDS."""

    api: Api
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def profile_id(self, person: str) -> str | None:
        """The profile id of whom `person` (see `_paths`) leads to; None: nobody. Raises Refused, Unreachable, MaskedError."""
        for path in _paths(person):
            found = self._asked(path)
            if found is not None and HIDDEN in found:
                raise MaskedError("the query key sees this person masked: a key with the scopes `read` and `personal` is needed")
            if found is not None:
                return found
        return None

    def _asked(self, path: str) -> str | None:
        give_up = self.clock() + PATIENCE_SECONDS
        while True:
            try:
                return str(self.api.ask("GET", path)["profile_id"])
            except Unreachable as away:
                if self.clock() > give_up:
                    raise
                self.sleep(told_pause(away.told, PAUSE_SECONDS))
            except Refused as refused:
                if refused.code not in _NOBODY:
                    raise
                return None


def _paths(person: str) -> Iterator[str]:
    """Where to ask for a user id, an address, KIND:VALUE or a profile id, one after the other: a user's id may look like any of them."""
    if not person or len(person) > LONGEST_ID:
        return
    if _PROFILE_ID.fullmatch(person):
        known = ids.is_user(person) or ids.is_anonymous(person)
        yield f"profiles/{quote(person, safe=':')}" if known else f"profiles:lookup?external_id={quote(person, safe=':')}"
    elif "@" in person:
        yield f"profiles:lookup?email={quote(person, safe='')}"
    yield f"profiles:lookup?user_id={quote(person, safe='')}"


def lines_of(path: Path) -> int:
    """How many lines a file has. Raises OSError."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def people_in(path: Path) -> Iterator[str]:
    """One a line; "" for an empty one. Raises OSError, UnicodeDecodeError."""
    with path.open(encoding="utf-8-sig") as file:
        while line := file.readline(CHUNK):
            yield line.strip()
