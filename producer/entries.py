"""What waits in the buffer for Kafka: frames, dead letters, marks. Pure."""

import msgspec

from producer.protocol import RawKind

#: Memory that an entry takes beside its bytes, about: the objects around them and their place in the buffer.
ENTRY_OVERHEAD_BYTES = 256


class FrameEntry(msgspec.Struct, gc=False):
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


class DeadLetterEntry(msgspec.Struct, gc=False):
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


class MarkEntry(msgspec.Struct, gc=False):
    """A feed mark for every partition of both raw topics; it is one object however many partitions hold it."""

    payload: bytes
    at_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()
    copies: int = 1

    @property
    def cost_bytes(self) -> int:
        """What the entry takes of the buffer."""
        return len(self.payload) + sum(len(value) for _, value in self.headers) + ENTRY_OVERHEAD_BYTES


Entry = FrameEntry | DeadLetterEntry | MarkEntry
