"""What is kept of the feed: numbers each frame, puts it into the buffer, and says by marks what is missing. Pure.

Used by the one thread that reads the feed.
"""

from collections.abc import Sequence

from producer.buffer import Buffer
from producer.entries import DeadLetterEntry, FrameEntry
from producer.marks import Stretch
from producer.protocol import Notice, Placed, Pong, Unplaced
from producer.stats import FeedStats

#: Why a frame was dropped.
FULL = "buffer-full"
TOO_LONG = "too-long"

_BUFFER_FULL = "the buffer was full"


class Intake:
    """One connection's way into the buffer. Times are UTC ms."""

    def __init__(
        self,
        connection: str,
        channels: Sequence[str],
        buffer: Buffer,
        stats: FeedStats,
        *,
        mark_every_ms: int,
        frame_bytes_max: int,
        group: str | None = None,
    ) -> None:
        self._connection = connection.encode()
        self._stretch = Stretch(connection, channels, mark_every_ms, group)
        self._buffer = buffer
        self._stats = stats
        self._frame_bytes_max = frame_bytes_max
        self._sequence = 0

    @property
    def covered(self) -> bool:
        """Whether what arrives is being kept."""
        return self._stretch.covered

    def subscribed(self, now_ms: int) -> None:
        """Begin: the subscription was sent now."""
        self._cover(now_ms)

    def take(self, message: Placed | Unplaced, now_ms: int) -> None:
        """Keep a frame or a dead letter, or count it as dropped and let the marks show it."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        stats = self._stats
        stats.frames += 1
        stats.bytes += len(message.payload)
        if len(message.payload) > self._frame_bytes_max:
            self._drop(TOO_LONG, now_ms, f"a frame of more than {self._frame_bytes_max} bytes")
            return
        entry: FrameEntry | DeadLetterEntry
        if isinstance(message, Placed):
            entry = FrameEntry(message.kind, message.channel, message.payload, now_ms, self._connection, sequence)
        else:
            reason, detail, payload = message.reason, message.detail, message.payload
            entry = DeadLetterEntry(reason, detail, payload, now_ms, self._connection, sequence)
        if not ((self._stretch.covered or self._cover(now_ms)) and self._buffer.put(entry)):
            self._drop(FULL, now_ms, _BUFFER_FULL)
            return
        if isinstance(message, Unplaced):
            stats.dead_letters[message.reason] += 1
        self._stretch.heard(now_ms)

    def pass_over(self, message: Notice | Pong) -> None:
        """Count what is not published."""
        if isinstance(message, Notice):
            self._stats.notices += 1

    def tick(self, now_ms: int, heard_at_ms: int, channels: Sequence[str]) -> None:
        """Write the mark that is due.

        `heard_at_ms` is the last moment anything at all arrived, `channels` are those that the feed is believed to
        send: if they are others than before, a mark says so now.
        """
        if tuple(channels) != self._stretch.channels:
            self._stretch.speak_for(channels)
        if not self._stretch.covered:
            self._cover(now_ms)
            return
        self._stretch.heard(heard_at_ms)
        if self._stretch.alive_due(now_ms) and not self._buffer.put(self._stretch.alive(now_ms)):
            self._buffer.put_always(self._stretch.down(now_ms, _BUFFER_FULL))

    def ended(self, now_ms: int, heard_at_ms: int, why: str) -> None:
        """End: the connection is lost or was closed; `why` in words, without secrets."""
        if self._stretch.covered:
            self._stretch.heard(heard_at_ms)
            self._buffer.put_always(self._stretch.down(now_ms, why))

    def _cover(self, now_ms: int) -> bool:
        """Begin to keep what arrives, if there is room for it."""
        if not self._buffer.roomy:
            return False
        self._buffer.put_always(self._stretch.up(now_ms))
        return True

    def _drop(self, reason: str, now_ms: int, why: str) -> None:
        self._stats.dropped[reason] += 1
        if self._stretch.covered:
            self._buffer.put_always(self._stretch.down(now_ms, why))
