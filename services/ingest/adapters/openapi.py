"""The tracking API's paths for the OpenAPI document: they are no FastAPI routes (app.py)."""

from typing import Any, Final

from services.ingest.domain.paths import BATCH_WORDS
from shared.contracts.events import EventType

_ID: Final = {"type": ["string", "integer", "null"]}
_OBJECT: Final = {"type": ["object", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_CALL: Final = {
    "messageId": {"type": "string", "maxLength": 100},
    "userId": _ID,
    "anonymousId": _ID,
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "properties": _OBJECT,
    "traits": _OBJECT,
    "context": _OBJECT,
    "integrations": _OBJECT,
    "writeKey": {"type": "string"},
}
_OWN: Final[dict[EventType, dict[str, Any]]] = {
    EventType.TRACK: {"event": {"type": "string", "minLength": 1}},
    EventType.IDENTIFY: {},
    EventType.PAGE: {"name": {"type": ["string", "null"]}},
    EventType.SCREEN: {"name": {"type": ["string", "null"]}},
    EventType.GROUP: {"groupId": {"type": "string", "minLength": 1}},
    EventType.ALIAS: {"previousId": {"type": "string", "minLength": 1}, "userId": {"type": "string", "minLength": 1}},
}
_REQUIRED: Final = {EventType.TRACK: ["event"], EventType.GROUP: ["groupId"], EventType.ALIAS: ["previousId", "userId"]}


def with_tracking(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every tracking path (those without a trailing slash; all answer with one too)."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _problem()
    schemas["Success"] = {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]}
    components["securitySchemes"] = {"writeKey": {"type": "http", "scheme": "basic", "description": "the write key as user name"}}
    paths = document["paths"]
    for kind in EventType:
        paths[f"/v1/{kind.value}"] = _post(kind.value, f"One {kind.value} call", _schema(kind))
        paths[f"/v1/{kind.value[0]}"] = _post(f"{kind.value}Short", f"One {kind.value} call", _schema(kind))
        paths[f"/v1/pixel/{kind.value}"] = _pixel(f"{kind.value}Pixel", "data")
    for word in BATCH_WORDS:
        paths[f"/v1/{word}"] = _post("batch" if word == "batch" else f"batchAs{word.title()}", "Many calls", _batch())
    paths["/beacon/v1/batch"] = _post("beacon", "Many calls by navigator.sendBeacon; ?writeKey=", _batch())
    paths["/v1/m"] = _post("telemetry", "The SDKs' own statistics: taken and dropped", {})
    for kind in (EventType.TRACK, EventType.PAGE):
        paths[f"/pixel/v1/{kind.value}"] = _pixel(f"{kind.value}QueryPixel", "writeKey")
    _errors_everywhere(paths)
    return document


def _schema(kind: EventType) -> dict[str, Any]:
    return {"type": "object", "properties": _CALL | _OWN[kind], "required": _REQUIRED.get(kind, [])}


def _batch() -> dict[str, Any]:
    item = {"type": "object", "properties": {**_CALL, "type": {"enum": [kind.value for kind in EventType]}}, "required": ["type"]}
    items = {"type": "array", "items": item, "minItems": 1, "maxItems": 2500}
    shared = {name: _CALL[name] for name in ("sentAt", "context", "integrations", "writeKey")}
    return {"type": "object", "properties": {"batch": items, **shared}, "required": ["batch"]}


def _post(operation_id: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "post": {
            "operationId": operation_id,
            "summary": summary,
            "security": [{"writeKey": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"200": _json("Kafka has acknowledged every event", "Success", "application/json")},
        }
    }


def _pixel(operation_id: str, parameter: str) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation_id,
            "summary": "One call in the address of an image",
            "security": [{"writeKey": []}],
            "parameters": [{"name": parameter, "in": "query", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "a transparent pixel", "content": {"image/gif": {}}}},
        }
    }


def _json(description: str, schema: str, media_type: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _errors_everywhere(paths: dict[str, Any]) -> None:
    """Every operation answers errors in one form, and never FastAPI's 422."""
    for operations in paths.values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status, meaning in (
                ("400", "malformed, too large, or invalid: `code` and `field` say what"),
                ("401", "no write key, or certainly an unknown one"),
                ("429", "too fast: wait as Retry-After says"),
                ("503", "cannot be stored now: wait as Retry-After says"),
            ):
                operation["responses"].setdefault(status, _json(meaning, "Problem", "application/problem+json"))


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("type", "title", "detail", "code", "message", "field")
    properties = {**dict.fromkeys(names, text), "status": {"type": "integer"}}
    return {"type": "object", "properties": properties, "required": ["type", "title", "status", "detail", "code", "message"]}
