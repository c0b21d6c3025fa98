"""The channels file: which endpoints each channel has, as an installation sets them. Secrets stand in files that it names, never in it.

webhook:
  crm: {url: "https://crm.example.com/hooks/rapport", secret_file: crm.secret}
wecom_group:
  ops: {key_file: ops.key}
"""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, create_model

from services.messaging.channels.socket import Channel
from shared.adapters.tls import Tls
from shared.definitions.models import Part, read
from shared.definitions.segment import Name
from shared.definitions.template import Template
from shared.definitions.yaml_text import DefinitionError, Problem, parse

MOST_ENDPOINTS: Final = 32
"""Of all channels together: each has queues of its own in every slot."""
MOST_BYTES: Final = 256 * 1024
Loaded = Mapping[str, Mapping[str, Any]]
"""Channel -> name -> what its endpoint was loaded to."""


def read_endpoints(path: Path | None, channels: Mapping[str, Channel]) -> Loaded:
    """What the file says, with secrets read. None: there are no endpoints. Raises DefinitionError that names file and line, no value."""
    if path is None:
        return {}
    name = path.name
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError([Problem(name, 1, "", f"cannot be read: {type(error).__name__}")]) from None
    if len(raw) > MOST_BYTES:
        raise DefinitionError([Problem(name, 1, "", f"is larger than {MOST_BYTES} bytes")])
    document = parse(text, name)
    said = read(document, _model(channels))
    found = {channel: getattr(said, channel) for channel in type(said).model_fields}
    if sum(map(len, found.values())) > MOST_ENDPOINTS:
        raise DefinitionError([Problem(name, 1, "", f"expected at most {MOST_ENDPOINTS} endpoints in all")])
    problems: list[Problem] = []
    loaded: dict[str, dict[str, Any]] = {}
    for channel, endpoints in found.items():
        for key, endpoint in endpoints.items():
            try:
                loaded.setdefault(channel, {})[key] = endpoint.load(path.parent)
            except ValueError as error:
                problems.append(document.problem((channel, key), str(error)))
    if problems:
        raise DefinitionError(problems)
    return loaded


def _model(channels: Mapping[str, Channel]) -> type[Part]:
    fields: dict[str, Any] = {}
    for name, channel in channels.items():
        if channel.endpoint is not None:
            by_name: Any = dict[Name, channel.endpoint]  # type: ignore[name-defined] # a type made while it runs
            fields[name] = (by_name, Field(default_factory=dict))
    made: type[Part] = create_model("ChannelsFile", __base__=Part, **fields)
    return made


def secret_of(folder: Path, name: str, file: Path) -> str:
    """What stands in `file`, which is named from `folder`. Raises ValueError."""
    try:
        found = (folder / file).read_text(errors="replace").strip()
    except OSError as error:
        raise ValueError(f"{name} names {file}, which cannot be read: {error.strerror}") from None
    if not found:
        raise ValueError(f"{name} names {file}, which is empty")
    return found


def trusted(folder: Path, file: Path | None) -> Path | None:
    """`file`, which is named from `folder`, if certificates can be checked by it. Raises ValueError."""
    if file is None:
        return None
    try:
        Tls(folder / file).context()
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file names {file}, which is no PEM file of certificates ({type(error).__name__})") from None
    return folder / file


def without_endpoint(templates: Iterable[Template], channels: Mapping[str, Channel], endpoints: Loaded) -> list[Problem]:
    """Templates that name an endpoint that there is not."""
    problems = []
    for one in templates:
        head = one.head
        channel = channels.get(head.channel)
        known = endpoints.get(head.channel, {})
        if channel is not None and channel.endpoint is not None and head.endpoint not in known:
            message = f"there is no endpoint {head.endpoint!r} of channel {head.channel}; there are {', '.join(sorted(known)) or 'none'}"
            problems.append(Problem(one.file, one.lines.get("to", 1), "to", message))
    return problems
