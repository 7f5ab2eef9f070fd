"""The routes as an OpenAPI 3.1 document; what a window looks like is read from its `.avsc`. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE, Aggregate
from processors.views.parameters import TEXT_MAX, WINDOWS_DEFAULT, WINDOWS_IN_TABLES, WINDOWS_MAX
from processors.windows import WindowSize
from schemas.channels import NAME_CHARACTERS_MAX
from schemas.moments import MOMENT_MS_MAX
from schemas.records import avro_schema

Json = dict[str, Any]

_PRIMITIVES = {"string": "string", "double": "number", "long": "integer", "int": "integer", "null": "null"}
_MS = {"type": "integer", "minimum": 0, "maximum": MOMENT_MS_MAX, "description": "UTC ms"}
_MOMENT = {
    "anyOf": [
        _MS,
        {"type": "string", "format": "date-time", "maxLength": TEXT_MAX},
        {"type": "string", "pattern": "^-(0|[1-9][0-9]{0,9})(ms|s|m|h|d)$", "description": "so long ago"},
    ]
}
_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "for If-None-Match"}}
_STALE = {"X-Stale-Ms": {"schema": {"type": "integer"}, "description": "stale_ms, for CSV too"}}


def document(sizes: Iterable[WindowSize], with_token: bool) -> Json:
    """Return the document; `with_token` says whether a bearer token is asked for."""
    paths = {**_window_paths([size.name for size in sizes]), **_other_paths()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "coinglass-streams",
            "version": "1",
            "description": "The state of the whole group of workers, whichever is asked. Times are UTC ms. Read-only.",
        },
        "paths": {path: {"get": _complete(operation, with_token)} for path, operation in paths.items()},
        "components": {
            "schemas": {
                "LiquidationWindow": _window(LIQUIDATION_VOLUME),
                "ImbalanceWindow": _window(TRADE_IMBALANCE),
                "Problem": _object({"error": {"type": "string"}}, more=True),
            },
            **({"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}} if with_token else {}),
        },
    }


def _window_paths(names: list[str]) -> dict[str, Json]:
    window = _query("window", {"type": "string", "enum": names}, "one length of window; all without it")
    between = [
        _query("from", _MOMENT, "windows that start at this moment or later; not with windows"),
        _query("to", _MOMENT, "windows that start before this moment; not with windows"),
    ]
    asset, exchange, symbol = (_path(name) for name in ("asset", "exchange", "symbol"))
    of_one, of_all = [_windows(WINDOWS_MAX), window, *between], [_windows(WINDOWS_IN_TABLES), window, *between]
    shared = {"stale_ms": {"type": "integer", "minimum": 0, "description": "how old the oldest of the state is"}}
    name = {"type": "string"}
    return {
        "/liquidations/": _get("All assets' windows", of_all, _windows_of("LiquidationWindow", {}, shared)),
        "/liquidations/{asset}/": _get(
            "One asset's windows",
            [asset, *of_one],
            _windows_of("LiquidationWindow", {"asset": name}, shared),
            unknown=True,
        ),
        "/imbalance/": _get("All markets' windows", of_all, _windows_of("ImbalanceWindow", {}, shared)),
        "/imbalance/{exchange}/{symbol}/": _get(
            "One market's windows, of all its channels",
            [exchange, symbol, *of_one],
            _windows_of("ImbalanceWindow", {"exchange": name, "symbol": name}, shared),
            unknown=True,
        ),
        "/gaps/": _get("Times in which nobody heard a channel", between, {"application/json": {"schema": _gaps()}}),
    }


def _other_paths() -> dict[str, Json]:
    status = {"application/json": {"schema": _object({"status": {"type": "string"}})}}
    ready = _get("Whether state is recovered and the broker reached", [], status)
    ready["responses"]["503"] = {"description": "Not ready", "content": status}
    events = _get(
        "What changes, as server-sent events: hello, windows, health, reset",
        [],
        {"text/event-stream": {"schema": {"type": "string"}}},
    )
    return {
        "/events": events,
        "/health": {**_get("Liveness", [], status), "security": []},
        "/ready": {**ready, "security": []},
        "/metrics": _get("Prometheus metrics", [], {"text/plain": {"schema": {"type": "string"}}}),
        "/openapi.json": _get("This document", [], {"application/json": {"schema": {"type": "object"}}}),
    }


def _get(summary: str, parameters: list[Json], content: Json, unknown: bool = False) -> Json:
    responses: Json = {"200": {"description": "OK", "content": content}}
    if parameters:
        responses["200"]["headers"] = _ETAG | _STALE
        responses["304"] = {"description": "What If-None-Match names is still so"}
        responses["400"] = _problem("A parameter that cannot be")
    if unknown:
        responses["404"] = _problem("Nothing is known of it")
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _complete(operation: Json, with_token: bool) -> Json:
    """Add what may be answered everywhere."""
    responses = dict(operation["responses"])
    responses.setdefault("400", _problem("A parameter that cannot be"))
    responses.setdefault("503", {**_problem("Being recovered, or too much is asked for"), "headers": _RETRY})
    if with_token and "security" not in operation:
        responses["401"] = _problem("Without the token")
        operation = {**operation, "security": [{"bearer": []}]}
    return {**operation, "responses": responses}


def _windows(most: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": WINDOWS_DEFAULT}
    return _query("windows", schema, "the newest so many of each asset or channel and length; not with from and to")


def _query(name: str, schema: Mapping[str, Any], description: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _path(name: str) -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _windows_of(schema: str, about: Json, shared: Json) -> Json:
    windows = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    body = _object({**about, "windows": windows}, optional=shared)
    return {"application/json": {"schema": body}, "text/csv": {"schema": {"type": "string"}}}


def _gaps() -> Json:
    return _object({"gaps": {"type": "array", "items": _record("feed_gap")}})


def _problem(description: str) -> Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _window(aggregate: Aggregate) -> Json:
    record = _record(aggregate.schema)
    more = {
        "window": {"type": "string", "description": "The window's length, as it was asked for"},
        "final": {"type": "boolean", "description": "Whether it was published; else it is still counted into"},
    }
    return _object({**record["properties"], **more}, description=record["description"])


def _record(name: str) -> Json:
    schema: Any = avro_schema(name)
    fields = {field.name: {**_type(field.type.to_json()), "description": field.doc} for field in schema.fields}
    return _object(fields, description=schema.doc)


def _type(avro: Any) -> Json:
    match avro:
        case str():
            return {"type": _PRIMITIVES[avro]}
        case list():
            return {"type": [_PRIMITIVES[each] for each in avro]}
        case {"type": "array"}:
            return {"type": "array", "items": _type(avro["items"])}
    return _type(avro["type"])


def _object(properties: Json, *, optional: Json | None = None, more: bool = False, description: str = "") -> Json:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": sorted(properties),
        "additionalProperties": more,
        **({"description": description} if description else {}),
    }
