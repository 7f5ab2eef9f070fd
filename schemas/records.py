"""The records of the contract, from their `.avsc` files: the one source of truth of every field. Pure after import."""

from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import avro.schema
import msgspec

_INT = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_LONG = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_PRIMITIVES: dict[str, Any] = {
    "null": None,
    "boolean": bool,
    "int": _INT,
    "long": _LONG,
    "float": float,
    "double": float,
    "string": str,
}


def schema_names() -> tuple[str, ...]:
    """Return the names of all schemas, each an `.avsc` file's name without its ending."""
    files = resources.files("schemas").joinpath("avro").iterdir()
    return tuple(sorted(f.name.removesuffix(".avsc") for f in files if f.name.endswith(".avsc")))


@cache
def schema_text(name: str) -> str:
    """Return the text of a schema, such as `liquidation_volume`."""
    return resources.files("schemas").joinpath("avro", f"{name}.avsc").read_text("utf-8")


@cache
def avro_schema(name: str) -> avro.schema.Schema:
    """Return a schema as the `avro` package parses it; raises its AvroException where the file is no schema."""
    return avro.schema.parse(schema_text(name))


def json_struct(name: str, *, forbid_unknown_fields: bool) -> type[msgspec.Struct]:
    """Compile a record's schema into the struct that decodes its JSON.

    JSON here is what the feed and the marks use: plain values by field name, as in Avro's JSON encoding for schemas
    without unions. An `int` or `long` out of its range, or a missing field, is a ValidationError.
    """
    compiled = _json_type(avro_schema(name), forbid_unknown_fields)
    assert isinstance(compiled, type)
    assert issubclass(compiled, msgspec.Struct)
    return compiled


def _json_type(schema: Any, forbid: bool) -> Any:
    match schema:
        case avro.schema.RecordSchema():
            fields = [(field.name, _json_type(field.type, forbid)) for field in schema.fields]
            # gc=False: the structs hold no cycles, and a million of them a second would keep the collector busy.
            return msgspec.defstruct(schema.name, fields, forbid_unknown_fields=forbid, gc=False, frozen=True)
        case avro.schema.ArraySchema():
            return list[_json_type(schema.items, forbid)]  # type: ignore[misc]
        case avro.schema.EnumSchema():
            return Literal[tuple(schema.symbols)]
        case avro.schema.PrimitiveSchema():
            return _PRIMITIVES[schema.type]
    raise TypeError(f"{schema} has no plain JSON form")
