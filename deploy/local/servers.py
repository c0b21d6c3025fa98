"""Which servers a run uses: those that its environment names, else those that it starts itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from deploy.local import env_file
from deploy.local.settings import Home
from shared.adapters.kafka_settings import KafkaSecurity
from shared.adapters.store_settings import ClickHouseSettings, RedisSettings

VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kafka": "RAPPORT_KAFKA_BOOTSTRAP",
        "redis": "RAPPORT_REDIS_URL",
        "clickhouse": "RAPPORT_CLICKHOUSE_URL",
        "mail": "RAPPORT_SMTP_URL",
        "hooks": "RAPPORT_CHANNELS_FILE",
    }
)
"""Part -> the variable that names a server elsewhere; for webhooks and robots, the file that names several."""
SENDER: Final = "RAPPORT_MAIL_FROM"
STARTED_HERE: Final = "RAPPORT_STARTED_HERE"
"""In `.rapport/env`: NAME=value of each server that the run started. A shell that has sourced the file names no server elsewhere by it."""
_ONLY_WITH: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        part: frozenset(f"RAPPORT_{name.upper()}" for name in model.model_fields) - {VARIABLES[part]}
        for part, model in (("kafka", KafkaSecurity), ("redis", RedisSettings), ("clickhouse", ClickHouseSettings))
    }
)
"""Variables that say how such a server is reached: nothing of that is true of one that is started here."""


@dataclass(frozen=True)
class Servers:
    """`elsewhere`: part -> what its variable says; it may hold a password. `again`: variables with what an earlier run here wrote."""

    elsewhere: Mapping[str, str] = field(default_factory=dict, repr=False)
    again: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    sender: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The variables that name servers elsewhere. They may hold passwords."""
        return {VARIABLES[part]: value for part, value in self.elsewhere.items()}

    def told(self, home: Home, *, demo: bool) -> list[str]:
        """What a person should know of them before the start; no password stands in it."""
        lines = [
            f"{part} is {masked(value)}, as {VARIABLES[part]} says: none is started here"
            for part, value in self.elsewhere.items()
            if part not in ("mail", "hooks")
        ]
        if self.again:
            lines.append(f"{', '.join(self.again)} came from an earlier run here: these servers are started here again")
        if self.ignored:
            lines.append(f"{', '.join(self.ignored)} not used: the servers they are meant for are started here")
        return [*lines, *self._mail(home, demo), self._hooks(home)]

    def _hooks(self, home: Home) -> str:
        file = self.elsewhere.get("hooks")
        if file is None:
            return f"no webhook and no robot's notice goes out: they are kept in {home.hooks}; set {VARIABLES['hooks']} to send them"
        return f"webhooks and robots' notices go out for real, as {VARIABLES['hooks']} says: {file}"

    def _mail(self, home: Home, demo: bool) -> list[str]:
        server = self.elsewhere.get("mail")
        if server is None:
            return [f"no e-mail goes out: it is kept in {home.mail}; set {VARIABLES['mail']} and {SENDER} to send it"]
        lines = [f"e-mail goes out for real, by {masked(server)}, as {VARIABLES['mail']} says"]
        if self.sender is None:
            lines.append(f"{SENDER} is not set: the sender is rapport@localhost, which most servers refuse")
        if demo:
            lines.append("the demo's customers have addresses at example.com: what is written to them goes to that server too")
        return lines


def named(environ: Mapping[str, str], home: Home) -> Servers:
    """The servers that the environment names. What `.rapport/env` has put there names none, nor does an empty variable."""
    here = env_file.read(home.env)
    sourced = dict(pair.split("=", 1) for pair in environ.get(STARTED_HERE, "").split() if "=" in pair)
    told = {part: environ[variable] for part, variable in VARIABLES.items() if environ.get(variable)}
    again = {part for part, value in told.items() if value in (here.get(VARIABLES[part]), sourced.get(VARIABLES[part]))}
    elsewhere = {part: value for part, value in told.items() if part not in again}
    useless = set().union(*(names for part, names in _ONLY_WITH.items() if part not in elsewhere))
    return Servers(
        elsewhere,
        tuple(VARIABLES[part] for part in told if part in again),
        tuple(sorted(name for name in useless if environ.get(name))),
        environ.get(SENDER) or None,
    )


def masked(value: str) -> str:
    """Where a server is, by its URL or host:port, without whatever may be a user, a password or a token."""
    if "://" not in value:
        return value
    try:
        parts = urlsplit(value)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return f"{value.partition('://')[0]}://…"
    if not parts.hostname or "@" in f"{parts.path}{parts.query}{parts.fragment}":  # a password with / or # in it: the host is no host
        return f"{parts.scheme}://…"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}{port}"
