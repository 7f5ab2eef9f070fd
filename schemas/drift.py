"""What differs between a frame as it came and `frame.avsc`: a feed that changes says so nowhere else. Pure.

    {"channel": "liquidationOrders", "data": [{"baseAsset": "BTC", …, "price": "56738.00", "leverage": 20}]}

    Drift("data.price", "string instead of double"), Drift("data.leverage", "unknown")

Names and types alone: values out of their bounds are bad records, and not drift. Nor is a field under an alias of the
schema: that is the newer spelling of the same field, and `aliases_of` tells it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import avro.schema
import msgspec

from schemas.records import aliases, avro_schema
from schemas.untrusted_json import NESTING_MAX, UNDECODABLE, nested_too_deep

#: Differences that are told of one frame, and records of it that are looked at. One of another schema differs all over.
DRIFTS_MAX = 32
RECORDS_MAX = 100
#: Characters of an unknown field's name that are told.
NAME_CHARACTERS_MAX = 64

UNKNOWN, MISSING, TWICE = "unknown", "missing", "twice, in two spellings"

#: What a JSON value is called, by the type it is decoded to: Avro's names, where Avro has one.
_NAMES = {
    type(None): "null",
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
    list: "array",
    dict: "object",
}
_DECODED_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "long": (int,),
    "double": (float, int),
    "string": (str,),
    "array": (list,),
    "record": (dict,),
}
#: Ways to differ that are counted apart, in DriftCounts.
WAYS_KEPT_MAX = 100

_ALIAS = "alias"  # no drift, and met on the same way

_decode = msgspec.json.Decoder().decode


class Drift(NamedTuple):
    """One difference: `path` as in `data.price`, "" for the frame itself; `what` is one of a few texts.

    An unknown field's name is the feed's own and can be anything: bound the number of paths that are kept.
    """

    path: str
    what: str


OTHER = Drift("other", "beyond the first ones")


def drift_of(payload: bytes) -> tuple[Drift, ...]:
    """Return what differs from the schema, each once, DRIFTS_MAX at most; () for nothing. Never raises.

    >>> drift_of(b'{"channel": "liquidationOrders", "data": [], "version": 2}')
    (Drift(path='version', what='unknown'),)
    """
    found: dict[Drift, None] = {}
    for met in _met(payload):
        if met.what != _ALIAS:
            found[met] = None
        if len(found) == DRIFTS_MAX:
            break
    return tuple(found)


def aliases_of(payload: bytes) -> frozenset[str]:
    """Return the paths of the fields that stand under an alias, such as `data.volume_usd`. Never raises."""
    return frozenset(met.path for met in _met(payload) if met.what == _ALIAS)


class DriftCounts:
    """How many frames differed in which way; ways beyond the first so many count as one."""

    def __init__(self) -> None:
        self.frames: Counter[Drift] = Counter()

    def add(self, payload: bytes) -> None:
        """Look at one frame."""
        for drift in drift_of(payload):
            known = drift in self.frames or len(self.frames) < WAYS_KEPT_MAX
            self.frames[drift if known else OTHER] += 1


def _met(payload: bytes) -> Iterator[Drift]:
    """Yield what differs, and aliases, as they are met; some of it again and again."""
    if nested_too_deep(payload):
        yield Drift("", f"nested deeper than {NESTING_MAX}")
        return
    try:
        value = _decode(payload)
    except UNDECODABLE:
        yield Drift("", "not JSON")
        return
    yield from _compare(_FRAME, value, "")


class _Shape(NamedTuple):
    """A schema, taken apart once: what a value decodes to, and what its fields or items look like."""

    name: str
    types: tuple[type, ...]
    fields: Mapping[str, tuple[str, "_Shape"]] = MappingProxyType({})  # by names and aliases: the name, its shape
    names: tuple[str, ...] = ()
    items: "_Shape | None" = None


def _shape(schema: Any) -> _Shape:
    name, types = schema.type, _DECODED_TYPES[schema.type]
    if isinstance(schema, avro.schema.ArraySchema):
        return _Shape(name, types, items=_shape(schema.items))
    if not isinstance(schema, avro.schema.RecordSchema):
        return _Shape(name, types)
    fields: dict[str, tuple[str, _Shape]] = {}
    for field in schema.fields:
        fields.update(dict.fromkeys((field.name, *aliases(field)), (field.name, _shape(field.type))))
    return _Shape("object", types, fields, tuple(field.name for field in schema.fields))


_FRAME = _shape(avro_schema("frame"))


def _compare(shape: _Shape, value: Any, path: str) -> Iterator[Drift]:
    if type(value) not in shape.types:
        yield Drift(path, f"{_NAMES[type(value)]} instead of {shape.name}")
    elif shape.items is not None:
        for item in islice(value, RECORDS_MAX):
            yield from _compare(shape.items, item, path)
    elif shape.names:
        yield from _compare_fields(shape, value, path)


def _compare_fields(shape: _Shape, value: Mapping[str, Any], path: str) -> Iterator[Drift]:
    present: set[str] = set()
    for name, below in value.items():
        if name not in shape.fields:
            yield Drift(_join(path, _shown(name)), UNKNOWN)
            continue
        own_name, field = shape.fields[name]
        if own_name in present:
            yield Drift(_join(path, own_name), TWICE)
        if name != own_name:
            yield Drift(_join(path, name), _ALIAS)
        present.add(own_name)
        yield from _compare(field, below, _join(path, name))
    for own_name in shape.names:
        if own_name not in present:
            yield Drift(_join(path, own_name), MISSING)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(name: str) -> str:
    """Return a name from outside as it may be shown: short, and without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:NAME_CHARACTERS_MAX])
