"""What waits for Kafka: frames, dead letters, marks. Pure."""

import msgspec

from producer.protocol import RawKind

#: Memory that an entry takes beside its bytes, about: the objects around them and their place in the buffer.
ENTRY_OVERHEAD_BYTES = 256


class _Numbered(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True):
    """What every entry is given on its way: its place in the order of all, and how many partitions still lack it."""

    number: int = 0
    copies: int = 1


class FrameEntry(_Numbered, gc=False, tag="frame"):
    """A frame as received, under its channel's canonical name; `sequence` is its number in its connection."""

    kind: RawKind
    channel: bytes
    payload: bytes
    at_ms: int
    connection: bytes
    sequence: int

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the buffer."""
        return len(self.payload) + ENTRY_OVERHEAD_BYTES


class DeadLetterEntry(_Numbered, gc=False, tag="dead-letter"):
    """A message that could not be placed, as received."""

    reason: str
    detail: str
    payload: bytes
    at_ms: int
    connection: bytes
    sequence: int

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the buffer."""
        return len(self.payload) + len(self.detail) + ENTRY_OVERHEAD_BYTES


class MarkEntry(_Numbered, gc=False, tag="mark"):
    """A feed mark for every partition of both raw topics; it is one object however many partitions hold it."""

    payload: bytes
    at_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the buffer."""
        return len(self.payload) + sum(len(value) for _, value in self.headers) + ENTRY_OVERHEAD_BYTES


Entry = FrameEntry | DeadLetterEntry | MarkEntry
