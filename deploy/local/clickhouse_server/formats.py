"""Content types of ClickHouse's output formats."""

from typing import Final

DEFAULT_FORMAT: Final = "TabSeparated"
_TSV = "text/tab-separated-values; charset=UTF-8"
_JSON = "application/json; charset=UTF-8"
_BINARY = "application/octet-stream"

_TYPES: Final = {
    "tabseparated": _TSV,
    "tsv": _TSV,
    "tabseparatedraw": _TSV,
    "tsvraw": _TSV,
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "csvwithnamesandtypes": "text/csv; charset=UTF-8; header=present",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "jsoncompacteachrow": "application/x-ndjson; charset=UTF-8",
    "ndjson": "application/x-ndjson; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
    "native": _BINARY,
    "parquet": _BINARY,
    "arrow": _BINARY,
    "arrowstream": _BINARY,
    "orc": _BINARY,
    "avro": _BINARY,
    "msgpack": _BINARY,
}


def content_type(name: str) -> str:
    """The Content-Type that the real server sends with format `name`."""
    known = _TYPES.get(name.lower())
    if known is not None:
        return known
    lower = name.lower()
    if lower.startswith(("tabseparated", "tsv")):
        return _TSV
    if lower.startswith("json"):
        return _JSON
    return _BINARY if lower.startswith("rowbinary") else "text/plain; charset=UTF-8"
