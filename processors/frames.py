"""Frames and marks from the bytes of the raw topics. Pure.

The structs are compiled from `frame.avsc` and `feed_mark.avsc`. A frame is first read by a decoder that refuses
unknown fields, as that costs nothing on the feed as it is; only a frame it refuses is looked at again, to count what
was unknown or to say what is wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import msgspec

from schemas.channels import NAME_CHARACTERS_MAX
from schemas.records import json_struct

#: Bounds far outside any market, within which sums and quantities (USD / price) still fit a double.
VOLUME_USD_MAX = 1e200
PRICE_MIN = 1e-100

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


#: Deepest nesting that is looked into. A bound of our own: the decoder's is the interpreter's stack, so that the same
#: bytes could be a frame to one caller and malformed to another.
NESTING_MAX = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)

_known: Any = msgspec.json.Decoder(json_struct("frame", forbid_unknown_fields=True))
_lenient: Any = msgspec.json.Decoder(json_struct("frame", forbid_unknown_fields=False))
_mark: Any = msgspec.json.Decoder(json_struct("feed_mark", forbid_unknown_fields=False))
_fields: Any = msgspec.json.Decoder(dict[str, msgspec.Raw])
_records: Any = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_FRAME_FIELDS = frozenset(_known.type.__struct_fields__)
_RECORD_FIELDS = frozenset(_known.type.__annotations__["data"].__args__[0].__struct_fields__)

#: What decoding bytes from outside may raise: not JSON or not of the schema, not UTF-8, nested without end.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: Decode a frame without unknown fields, or raise one of UNDECODABLE; the hot path, so without a function around it.
decode_known_frame = cast("Any", _known.decode)


def decode_unusual_frame(value: bytes | None) -> tuple[Frame, int] | Rejected:
    """Read what `decode_known_frame` refused: a frame and its number of unknown fields, or why it is none."""
    if value is None:
        return Rejected(MALFORMED, "the message has no value")
    if _nested_too_deep(value):
        return Rejected(MALFORMED, f"nested deeper than {NESTING_MAX}")
    try:
        frame: Frame = _lenient.decode(value)
        value.decode()  # msgspec passes over what it does not decode
        fields = _fields.decode(value)
        records = _records.decode(fields["data"])
    except UNDECODABLE as error:
        return Rejected(MALFORMED, str(error))
    unknown = len(fields.keys() - _FRAME_FIELDS) + sum(len(record.keys() - _RECORD_FIELDS) for record in records)
    return frame, unknown


def _nested_too_deep(value: bytes) -> bool:
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return False
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.finditer(value):
        bracket = token[0]
        if bracket in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in (b"]", b"}"):
            depth -= 1
    return deepest > NESTING_MAX


def decode_mark(value: bytes | None) -> FeedMark | Rejected:
    """Read a feed mark."""
    if _nested_too_deep(value or b""):
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
    if record.side not in (1, 2):
        return f"side is {record.side}"
    if not 0 <= record.volUsd <= VOLUME_USD_MAX:
        return f"volUsd is {record.volUsd}"
    if not record.price >= PRICE_MIN:
        return f"price is {record.price}"
    if record.time <= 0:
        return f"time is {record.time}"
    for name in ("baseAsset", "exName", "symbol"):
        if not 0 < len(getattr(record, name)) <= NAME_CHARACTERS_MAX:
            return f"{name} is empty or longer than {NAME_CHARACTERS_MAX} characters"
    return None
