"""What came of the demo, read the way anybody would: from ClickHouse, the query API and the processes' metrics."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rich.table import Table

from deploy.local.servers import STARTED_HERE, VARIABLES, masked
from deploy.local.settings import Home

REQUEST_SECONDS = 10


@dataclass(frozen=True)
class Summary:
    """Each figure is None where it could not be read. `segments`: key to members. `delay`: for each stage the
    seconds from a record's arrival in the stage's log to its effects being durable, for 99 of 100 chunks.
    """

    stored: int | None = None
    people: int | None = None
    messages: dict[str, int] | None = None
    segments: dict[str, int] | None = None
    delay: dict[str, float] = field(default_factory=dict)


def read_summary(env: dict[str, str], home: Home) -> Summary:
    """Ask every source once; one that does not answer leaves its figures out."""
    url = env["RAPPORT_CLICKHOUSE_URL"]
    events = _rows(url, "SELECT count() AS stored, uniqExact(profile_id) AS people FROM rapport.events FINAL")
    messages = _rows(url, "SELECT status, uniqExact(dispatch_id) AS number FROM rapport.messages GROUP BY status")
    return Summary(
        stored=int(events[0]["stored"]) if events else None,
        people=int(events[0]["people"]) if events else None,
        messages=None if messages is None else {row["status"]: int(row["number"]) for row in messages},
        segments=_segments(env),
        delay=_delays(home),
    )


def _delays(home: Home) -> dict[str, float]:
    """From the histogram rapport_stage_seconds of every process that runs."""
    try:
        parts = json.loads(home.parts.read_text())
    except (OSError, ValueError):
        return {}
    counts: dict[str, dict[float, float]] = {}
    for part in parts:
        check = part["check"] or ""
        if not check.endswith("/readyz"):
            continue
        for sample in _metrics(check.removesuffix("/readyz") + "/metrics"):
            if sample.name == "rapport_stage_seconds_bucket":
                of_stage = counts.setdefault(sample.labels["stage"], {})
                bound = float(sample.labels["le"])
                of_stage[bound] = of_stage.get(bound, 0) + sample.value
    bounds = {stage: quantile(buckets, 0.99) for stage, buckets in counts.items()}
    return {stage: bound for stage, bound in bounds.items() if bound is not None}


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The smallest bound of a cumulative histogram under which `share` of it lies; None when it is empty."""
    total = max(buckets.values(), default=0)
    return next((bound for bound in sorted(buckets) if buckets[bound] >= share * total), None) if total else None


def _metrics(url: str) -> Iterator[Sample]:
    try:
        with urlopen(url, timeout=REQUEST_SECONDS) as answer:
            text = answer.read().decode()
    except (URLError, OSError):  # HTTPError is among them: ingest tells its metrics on a port of their own
        return
    for family in text_string_to_metric_families(text):
        yield from family.samples


def _segments(env: dict[str, str]) -> dict[str, int] | None:
    bearer = {"Authorization": f"Bearer {env['RAPPORT_QUERY_KEY']}"}
    page = _json(Request(f"{env['RAPPORT_QUERY_URL']}/api/v1/segments?limit=1000", headers=bearer))
    return None if page is None else {item["key"]: int(item["size"]) for item in page["data"]}


def _rows(url: str, sql: str) -> list[dict[str, Any]] | None:
    parts = urlsplit(url)
    request = Request(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/?default_format=JSON&query={quote(sql)}")
    if parts.username is not None:  # urllib takes none from the URL
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
    page = _json(request)
    return None if page is None else list(page["data"])


def _json(request: Request) -> dict[str, Any] | None:
    try:
        with urlopen(request, timeout=REQUEST_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (URLError, OSError, ValueError):
        return None


def table(summary: Summary, env: dict[str, str], home: Home) -> Table:
    """The figures and where everything is."""
    made = Table("what", "now", title="Rapport", box=None, title_justify="left")
    made.add_row("events accepted and stored", _number(summary.stored))
    made.add_row("profiles", _number(summary.people))
    if summary.segments is None:
        made.add_row("segments", _number(None))
    for key, size in sorted((summary.segments or {}).items()):
        made.add_row(f"segment {key}", f"{size:,}")
    for status, number in sorted((summary.messages or {}).items()):
        made.add_row(f"messages {status}", f"{number:,}")
    if f"{VARIABLES['mail']}=" in env.get(STARTED_HERE, ""):
        made.add_row("e-mails in the local mailbox", f"{sum(1 for _ in home.mail.glob('*.eml')):,} in {home.mail}")
    else:
        made.add_row("e-mails went out by", masked(env[VARIABLES["mail"]]))
    if f"{VARIABLES['hooks']}=" in env.get(STARTED_HERE, ""):
        for title, channel in (("webhooks", "webhook"), ("notices to staff", "wecom_group")):
            made.add_row(f"{title} in the local catcher", f"{sum(1 for _ in home.hooks.glob(f'*-{channel}.json')):,} in {home.hooks}")
    else:
        made.add_row("webhooks and notices went out as says", env.get(VARIABLES["hooks"], "no channels file: there are no endpoints"))
    for stage, seconds in summary.delay.items():
        made.add_row(f"delay in {stage}, 99 of 100", f"under {seconds * 1000:,.0f} ms")
    for title, name in (("send events to", "INGEST"), ("ask", "QUERY"), ("ClickHouse", "CLICKHOUSE")):
        made.add_row(title, masked(env[f"RAPPORT_{name}_URL"]))
    made.add_row("keys and URLs for a shell", f"source {home.env}")
    return made


def _number(value: int | None) -> str:
    return "not known (no answer)" if value is None else f"{value:,}"
