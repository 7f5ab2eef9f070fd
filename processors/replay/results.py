"""Finals as typed, frozen objects, and as Arrow tables; their fields come from the `.avsc` files. Pure.

Beyond the schema's fields each has `window` (as written, such as `1m`), `available_at_ms` (UTC ms: when the live system
could first have known it) and `partial` (the range cut its window). Times are ints, UTC ms; in Arrow, timestamps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any

import avro.schema
import pyarrow as pa

from processors.aggregates import AGGREGATES
from processors.replay.kinds import FinalKind
from processors.replay.ordered import Replayed
from schemas.records import avro_schema


@dataclass(frozen=True)
class Final:
    """What all finals have; those of an aggregate have the fields of its `.avsc` besides."""

    aggregate: str
    window: str
    available_at_ms: int
    partial: bool


def _fields(schema: str) -> list[avro.schema.Field]:
    record: Any = avro_schema(schema)
    return list(record.fields)


def _python_type(of: Any) -> Any:
    if isinstance(of, avro.schema.UnionSchema):
        return _python_type(of.schemas[1]) | None
    return {"string": str, "double": float, "long": int, "int": int}[of.type]


def _arrow_type(of: Any) -> Any:
    if isinstance(of, avro.schema.UnionSchema):
        return _arrow_type(of.schemas[1])
    if of.props.get("logicalType") == "timestamp-millis":
        return pa.timestamp("ms", tz="UTC")
    return {"string": pa.string(), "double": pa.float64(), "long": pa.int64(), "int": pa.int32()}[of.type]


def _typed(schema: str) -> type[Final]:
    record: Any = avro_schema(schema)
    fields = [(field.name, _python_type(field.type)) for field in _fields(schema)]
    made = make_dataclass(record.name, fields, bases=(Final,), frozen=True)
    made.__doc__ = f"{record.doc} See `{schema}.avsc`; times in UTC ms."
    made.__module__ = __name__
    return made


#: The types, by aggregate; also by name below.
TYPES: Mapping[str, type[Final]] = {a.name: _typed(a.schema) for a in AGGREGATES.values()}
LiquidationVolume, TradeImbalance = TYPES["liquidation-volume"], TYPES["trade-imbalance"]

#: Columns by aggregate, as in the `.avsc`, and behind them what a replay knows of a final.
ARROW_SCHEMAS: Mapping[str, Any] = {
    aggregate.name: pa.schema(
        [
            *(
                pa.field(f.name, _arrow_type(f.type), nullable=isinstance(f.type, avro.schema.UnionSchema))
                for f in _fields(aggregate.schema)
            ),
            pa.field("window", pa.string(), nullable=False),
            pa.field("available_at_ms", pa.int64(), nullable=False),
            pa.field("partial", pa.bool_(), nullable=False),
        ]
    )
    for aggregate in AGGREGATES.values()
}


def row(replayed: Replayed, kind: FinalKind) -> dict[str, Any]:
    """Return a final as a flat mapping: the schema's fields, window, available_at_ms, partial."""
    return {
        **kind.read(replayed.result),
        "window": kind.window,
        "available_at_ms": replayed.available_at_ms,
        "partial": replayed.partial,
    }


def typed(replayed: Replayed, kind: FinalKind) -> Final:
    """Return a final as its aggregate's type."""
    return TYPES[kind.aggregate.name](aggregate=kind.aggregate.name, **row(replayed, kind))


def arrow_table(aggregate: str, rows: list[dict[str, Any]]) -> Any:
    """Return rows of one aggregate as a `pyarrow.Table`."""
    return pa.Table.from_pylist(rows, schema=ARROW_SCHEMAS[aggregate])
