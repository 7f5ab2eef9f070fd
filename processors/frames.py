"""Frames and marks from the bytes of the raw topics. Pure.

The structs are compiled from `frame.avsc` and `feed_mark.avsc`. A frame is first read by a strict decoder, which
refuses unknown fields and values out of bounds at no cost; only a frame it refuses is looked at again, to count what
was unknown and to say what is wrong. There is one strict decoder for each spelling of the feed's; a frame that mixes
them is read all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import msgspec

from schemas.records import accepted, aliases, avro_schema, json_struct
from schemas.untrusted_json import NESTING_MAX, UNDECODABLE, nested_too_deep

MALFORMED = "malformed"
UNKNOWN_CHANNEL = "unknown-channel"
BAD_RECORD = "bad-record"
FUTURE_TIME = "future-time"


class FrameRecord(Protocol):
    """One liquidation or trade as `frame.avsc` has it; the names are the feed's own."""

    baseAsset: str  # noqa: N815
    exName: str  # noqa: N815
    price: float
    side: int
    symbol: str
    time: int
    volUsd: float  # noqa: N815


class Frame(Protocol):
    """One message of the feed."""

    channel: str
    data: Sequence[FrameRecord]


class FeedMark(Protocol):
    """What the producer knew of a connection, as `feed_mark.avsc` has it."""

    kind: Literal["up", "alive", "down"]
    at_ms: int
    heard_at_ms: int
    connection: str
    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why bytes, or some records of a frame, were not taken: `reason` is one of the contract's, `detail` for people."""

    reason: str
    detail: str


_lenient: Any = msgspec.json.Decoder(json_struct("frame", strict=False))
_mark: Any = msgspec.json.Decoder(json_struct("feed_mark", strict=False))
_fields: Any = msgspec.json.Decoder(dict[str, msgspec.Raw])
_records: Any = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_frame_schema: Any = avro_schema("frame")
_frame_fields = {field.name: field for field in _frame_schema.fields}
_record_fields = {field.name: field for field in _frame_fields["data"].type.items.fields}
_aliases = {name: aliases(field) for name, field in _record_fields.items()}
_accepted = {name: accepted(field) for name, field in _record_fields.items()}

#: Decode a frame without unknown fields or bad records, under the schema's names or its aliases, or raise one of
#: UNDECODABLE; the hot path, so without functions around them.
decode_plain_frame, decode_renamed_frame = (
    cast("Any", msgspec.json.Decoder(json_struct("frame", strict=True, renamed=renamed)).decode)
    for renamed in (False, True)
)


def decode_unusual_frame(value: bytes | None) -> tuple[Frame, int] | Rejected:
    """Read what no plain decoder took: a frame and its number of unknown fields, or why it is none."""
    if value is None:
        return Rejected(MALFORMED, "the message has no value")
    if nested_too_deep(value):
        return Rejected(MALFORMED, f"nested deeper than {NESTING_MAX}")
    try:
        value.decode()  # msgspec passes over what it does not decode
        value = _by_the_schemas_names(value)
        frame: Frame = _lenient.decode(value)
        fields = _fields.decode(value)
        records = _records.decode(fields["data"])
    except UNDECODABLE as error:
        return Rejected(MALFORMED, str(error))
    unknown = len(fields.keys() - _frame_fields) + sum(len(record.keys() - _record_fields) for record in records)
    return frame, unknown


def _by_the_schemas_names(value: bytes) -> bytes:
    """Return a frame with its records' fields under the schema's names where they stand under aliases of those."""
    if not any(alias.encode() in value for known in _aliases.values() for alias in known):
        return value
    fields = _fields.decode(value)
    if "data" not in fields:
        return value
    records = _records.decode(fields["data"])
    for record in records:
        for name, known in _aliases.items():
            found = next((alias for alias in known if alias in record), None)
            if found is not None and name not in record:
                record[name] = record.pop(found)
    return msgspec.json.encode({**fields, "data": records})


def decode_mark(value: bytes | None) -> FeedMark | Rejected:
    """Read a feed mark."""
    if nested_too_deep(value or b""):
        return Rejected(MALFORMED, f"not a feed mark: nested deeper than {NESTING_MAX}")
    try:
        mark: FeedMark = _mark.decode(value or b"")
        (value or b"").decode()
    except UNDECODABLE as error:
        return Rejected(MALFORMED, f"not a feed mark: {error}")
    if mark.at_ms <= 0:
        return Rejected(MALFORMED, f"not a feed mark: at_ms is {mark.at_ms}")
    return mark


def why_bad(record: FrameRecord) -> str | None:
    """Return what is wrong with a record's values, None where nothing is."""
    for name, bounds in _accepted.items():
        value = getattr(record, name)
        if isinstance(value, str):
            if not bounds["min_length"] <= len(value) <= bounds["max_length"]:
                return f"{name} is empty or longer than {bounds['max_length']} characters"
        elif not bounds.get("ge", value) <= value <= bounds.get("le", value):
            return f"{name} is {value}"
    return None
