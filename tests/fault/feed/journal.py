"""What the hostile feed knows of its connections: what it sent when, and what had surely been read by when. Pure.

    sent       m0 m1 m2 ping  m3 m4 ping  m5 ┆ cut
    pong                    ▲           ▲
    receipts           3 read      5 read       m5 was in flight

It pings often, and a client answers pings in the order of the stream: a pong proves that all before its ping was read.
Times are UTC ms by the clock that the producers use too, as all run on one machine.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

#: A connection's number stands, in blanks and tabs, at the end of all it sends: no two send the same bytes, and JSON
#: does not care.
STAMP_BYTES = 12
_BLANKS = bytes.maketrans(b"01", b" \t")
_DIGITS = bytes.maketrans(b" \t", b"01")


class Fate(Enum):
    """What must become of a message that the producer counts."""

    FRAME = "a raw topic"
    LETTER = "the dead letters"
    LOST = "nowhere"  # it is longer than a producer keeps; the marks must show that it is missing


class Sent(NamedTuple):
    """A message that the producer counts; `at_ms` is just before it was sent."""

    at_ms: int
    payload: bytes
    fate: Fate
    channel: str = ""


class Receipt(NamedTuple):
    """`count` messages had been read by `read_ms`: a ping that was sent behind them at `asked_ms` was answered."""

    count: int
    asked_ms: int
    read_ms: int


@dataclass
class Connection:
    """One connection, as the feed saw it; the producer's sequence number is a place in `sent`."""

    number: int
    slot: int
    opened_ms: int
    subscribed_ms: int | None = None
    ended_ms: int | None = None
    channels: frozenset[str] = frozenset()
    sent: list[Sent] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    doomed_ms: int | None = None  # from here on the producer had reason to give it up
    mute_ms: int | None = None  # from here on nothing was sent
    blows: list[str] = field(default_factory=list)

    def read_by_ms(self, place: int) -> int | None:
        """Return when the message had surely been read; None if that is not known."""
        at = bisect_right(self.receipts, place, key=lambda receipt: receipt.count)
        return self.receipts[at].read_ms if at < len(self.receipts) else None

    @property
    def heard_ms(self) -> int | None:
        """The last moment of which the feed knows that the producer heard something at it, or later."""
        return self.receipts[-1].asked_ms if self.receipts else None

    def stamped(self, payload: bytes) -> bytes:
        """Return a message that tells its connection."""
        return payload + f"{self.number:0{STAMP_BYTES}b}".encode().translate(_BLANKS)


class Attempt(NamedTuple):
    """A handshake that came to the feed; `connection` is None for one that was turned away, until `ended_ms`."""

    slot: int
    at_ms: int
    ended_ms: int
    connection: int | None
    hold_off_ms: int = 0  # what the answer's Retry-After said


@dataclass
class Journal:
    """Everything that happened; `connections` stand at their numbers, and so do `attempts` in their order."""

    connections: list[Connection] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    downs: list[tuple[int, int]] = field(default_factory=list)  # when nobody listened: from, to
    lag_ms: int = 0  # the longest that the feed's own clockwork was late: this machine has much to do

    def of_slot(self, slot: int) -> Sequence[Connection]:
        """Return the connections of one producer's place, in their order."""
        return [connection for connection in self.connections if connection.slot == slot]


def stamp_of(payload: bytes) -> int | None:
    """Return the number of the connection that a message was sent on; None for a message of somebody else."""
    stamp = payload[-STAMP_BYTES:].translate(_DIGITS)
    return int(stamp, 2) if len(stamp) == STAMP_BYTES and not set(stamp) - set(b"01") else None
