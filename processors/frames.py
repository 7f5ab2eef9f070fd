"""Frames and marks from the bytes of the raw topics. Pure.

The structs are compiled from `frame.avsc` and `feed_mark.avsc`. A frame is first read by a strict decoder, which
refuses unknown fields and values out of bounds at no cost; only a frame it refuses is looked at again, to count what
was unknown and to say what is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import msgspec

from schemas.records import accepted, avro_schema, json_struct
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


_strict: Any = msgspec.json.Decoder(json_struct("frame", strict=True))
_lenient: Any = msgspec.json.Decoder(json_struct("frame", strict=False))
_mark: Any = msgspec.json.Decoder(json_struct("feed_mark", strict=False))
_fields: Any = msgspec.json.Decoder(dict[str, msgspec.Raw])
_records: Any = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_frame_schema: Any = avro_schema("frame")
_frame_fields = {field.name: field for field in _frame_schema.fields}
_record_fields = {field.name: field for field in _frame_fields["data"].type.items.fields}
_accepted = {name: accepted(field) for name, field in _record_fields.items()}

#: Decode a frame without unknown fields or bad records, or raise one of UNDECODABLE; the hot path, so without a
#: function around it.
decode_plain_frame = cast("Any", _strict.decode)


def decode_unusual_frame(value: bytes | None) -> tuple[Frame, int] | Rejected:
    """Read what `decode_plain_frame` refused: a frame and its number of unknown fields, or why it is none."""
    if value is None:
        return Rejected(MALFORMED, "the message has no value")
    if nested_too_deep(value):
        return Rejected(MALFORMED, f"nested deeper than {NESTING_MAX}")
    try:
        frame: Frame = _lenient.decode(value)
        value.decode()  # msgspec passes over what it does not decode
        fields = _fields.decode(value)
        records = _records.decode(fields["data"])
    except UNDECODABLE as error:
        return Rejected(MALFORMED, str(error))
    unknown = len(fields.keys() - _frame_fields) + sum(len(record.keys() - _record_fields) for record in records)
    return frame, unknown


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
