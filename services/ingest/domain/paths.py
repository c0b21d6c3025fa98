"""The paths of the tracking API: which call each stands for. Every one with and without a trailing slash; no redirects."""

from typing import Final

from shared.contracts.events import EventType

BATCH_WORDS: Final = ("batch", "import", "b")
SINGLE: Final[dict[str, EventType]] = {word: kind for kind in EventType for word in (kind.value, kind.value[0])}
"""The last word of a single call's path -> its kind; the browser SDKs use first letters."""


def _both(path: str) -> tuple[str, str]:
    return path, path + "/"


def _calls() -> dict[str, EventType | None]:
    calls: dict[str, EventType | None] = {}
    for word, kind in SINGLE.items():
        calls.update(dict.fromkeys(_both(f"/v1/{word}"), kind))
    for word in BATCH_WORDS:
        calls.update(dict.fromkeys(_both(f"/v1/{word}")))
    calls.update(dict.fromkeys(_both("/beacon/v1/batch")))
    return calls


CALLS: Final = _calls()
"""POST path -> kind of the single call, or None for a batch."""

TELEMETRY: Final = frozenset(_both("/v1/m"))
"""POST: the SDKs' own statistics; taken and dropped."""

PIXELS: Final[dict[str, EventType]] = {path: kind for kind in EventType for path in _both(f"/v1/pixel/{kind.value}")}
"""GET with ?data=base64 of a call's JSON."""

QUERY_PIXELS: Final[dict[str, EventType]] = {
    path: kind for kind in (EventType.TRACK, EventType.PAGE) for path in _both(f"/pixel/v1/{kind.value}")
}
"""GET with the call's fields as query parameters: context.page.url=…"""

TRACKING: Final = frozenset(CALLS) | TELEMETRY | frozenset(PIXELS) | frozenset(QUERY_PIXELS)


def allowed(path: str) -> str:
    """The methods of a tracking path, for the header Allow."""
    return "GET, OPTIONS" if path in PIXELS or path in QUERY_PIXELS else "POST, OPTIONS"


def kind_of(path: str) -> EventType | None:
    """The kind that a path of CALLS, PIXELS or QUERY_PIXELS gives its call; None for a batch."""
    return CALLS.get(path) or PIXELS.get(path) or QUERY_PIXELS.get(path)
