"""The records of the contract, from their `.avsc` files: the one source of truth of every field. Pure after import."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, cast

import avro.schema
import msgspec

_PRIMITIVES: Mapping[str, Any] = {
    "null": None,
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
}
_RANGES: Mapping[str, Mapping[str, Any]] = {
    "int": {"ge": -(2**31), "le": 2**31 - 1},
    "long": {"ge": -(2**63), "le": 2**63 - 1},
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


class _Form(NamedTuple):
    """Which JSON of a schema is meant."""

    strict: bool
    renamed: bool


def json_struct(name: str, *, strict: bool, renamed: bool = False) -> type[msgspec.Struct]:
    """Compile a record's schema into the struct that decodes its JSON.

    JSON here is what the feed and the marks use: plain values by field name, as in Avro's JSON encoding for schemas
    without unions; where `renamed`, by each field's first alias, if it has any. An `int` or `long` out of its range, or
    a missing field, is a ValidationError; where `strict`, so is a field that the schema does not know, or a value
    outside what the field's `accepted` says.
    """
    compiled = _json_type(avro_schema(name), _Form(strict, renamed))
    assert isinstance(compiled, type)
    assert issubclass(compiled, msgspec.Struct)
    return compiled


def _json_type(schema: Any, form: _Form, bounds: Mapping[str, Any] = MappingProxyType({})) -> Any:
    match schema:
        case avro.schema.RecordSchema():
            fields = [
                (field.name, _json_type(field.type, form, accepted(field) if form.strict else {}))
                for field in schema.fields
            ]
            names = {field.name: aliases(field)[0] for field in schema.fields if form.renamed and aliases(field)}
            # gc=False: the structs hold no cycles, and a million of them a second would keep the collector busy.
            return msgspec.defstruct(
                schema.name, fields, rename=names, forbid_unknown_fields=form.strict, gc=False, frozen=True
            )
        case avro.schema.ArraySchema():
            return list[_json_type(schema.items, form)]  # type: ignore[misc]
        case avro.schema.EnumSchema():
            return Literal[tuple(schema.symbols)]
        case avro.schema.PrimitiveSchema():
            meta = {**_RANGES.get(schema.type, {}), **bounds}
            plain = _PRIMITIVES[schema.type]
            return Annotated[plain, msgspec.Meta(**meta)] if meta else plain
    raise TypeError(f"{schema} has no plain JSON form")


def aliases(field: avro.schema.Field) -> Sequence[str]:
    """Return the other names that a field may stand under, in the order of the schema."""
    names: Any = field.other_props.get("aliases", ())
    return cast("Sequence[str]", names)


def accepted(field: avro.schema.Field) -> Mapping[str, Any]:
    """Return a field's bounds: `ge` and `le` of a number, `min_length` and `max_length` of a string in characters."""
    bounds: Any = field.other_props.get("accepted", {})
    return cast("Mapping[str, Any]", bounds)
