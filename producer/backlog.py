"""The way from the buffer to the outbox: straight while Kafka keeps up, by way of the spool while it does not.

    outbox (memory)            spool (disk)                        buffer (memory)
    ┌─────────────┐   read     ┌──────────────┬──────────────┐  append   ┌─────────────┐
    │ oldest      │ ◀───────── │ handed out   │ on disk only │ ◀──────── │      newest │ ◀── feed
    └─────────────┘            └──────────────┴──────────────┘           └─────────────┘
                                              └ cursor

What makes the end of this process harmless at any moment:

- The rows are one stretch of all that was received: whatever is in memory alone is newer than every row. So when the
  spool is first needed, it takes what waits in the outbox too; and that room is free again.
- Rows are noted as handed out before they are. So those that Kafka may have are known.
- Rows are dropped when everything up to them is acknowledged.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from producer.buffer import Buffer
from producer.entries import Entry, MarkEntry
from producer.mending import Mender
from producer.outbox import Outbox, Place
from producer.published import Published, Suspects
from producer.spool import Spool, SpoolRefusedError, SpoolUnreadableError
from producer.stats import Stats

#: Entries moved in one turn, straight and to the spool: the loop is never busy for long.
TAKE_ENTRIES_MAX = 5_000
SPOOL_ENTRIES_MAX = 1_000
#: Most of what is written to the spool, and read from it, at once.
APPEND_BYTES_MAX = 1024 * 1024
READ_BYTES_MAX = 4 * 1024 * 1024
#: A spool that took nothing is tried again after so long.
REFUSED_PAUSE_S = 1.0

log = structlog.get_logger(__name__)


class Backlog:
    """Moves entries on, in order; `places` says to which partitions an entry goes. For one thread."""

    def __init__(
        self, buffer: Buffer, outbox: Outbox, places: Callable[[Entry], Sequence[Place]], stats: Stats
    ) -> None:
        self._buffer = buffer
        self._outbox = outbox
        self._places = places
        self._stats = stats
        self._high_bytes = buffer.bytes_max // 4 * 3
        self._read_bytes = min(READ_BYTES_MAX, buffer.bytes_max // 16)
        self._newest = 0  # the number that was given last
        self._taken: deque[Entry] = deque()  # from the buffer, and not placed yet
        self._mender: Mender | None = None
        self.spool: Spool | None = None
        self._cursor = 1  # rows from here on are on disk only
        self._leftovers_to = 0  # rows up to here are an earlier producer's
        self._compared_to = 0  # and up to here it is known which of them Kafka has
        self._published: Published | None = None  # None: not known yet
        self._again_at_s = 0.0  # when a spool that refused is tried again
        self._refusal_told = False

    # What stands where

    @property
    def left(self) -> int:
        """Records that are not acknowledged: in memory, a mark once a partition; on disk, so many at most."""
        on_disk = self.spool.last + 1 - self._cursor if self.spool and self._behind else 0
        return len(self._outbox) + len(self._buffer) + len(self._taken) + on_disk

    @property
    def in_memory_only(self) -> int:
        """Entries that would be lost if this process ended now."""
        last = self.spool.last if self.spool else 0
        return len(self._outbox.above(last)) + len(self._buffer) + len(self._taken)

    @property
    def is_readable(self) -> bool:
        """Whether there is more to read back, and room for it."""
        return self._behind and self._published is not None and self._outbox.waiting_bytes <= self._read_bytes

    @property
    def is_idle(self) -> bool:
        """Whether another spool may take this one's place: nothing stands in it, and nothing is on its way."""
        return (self.spool is None or self.spool.is_empty) and not self._outbox and not self._taken

    @property
    def _behind(self) -> bool:
        return self.spool is not None and self._cursor <= self.spool.last

    # A turn

    def move(self, now_s: float, *, stalled: bool) -> bool:
        """Move entries on; False if those in the buffer have to stay there for now. `stalled`: Kafka takes nothing."""
        spool, moved = self.spool, True
        if spool is not None and (self._behind or self._is_wanted(stalled, now_s)):
            moved = self._fill(spool, now_s)
        else:
            self._pass_on()
        if spool is not None:
            self._read(spool)
            self._sweep()
        return moved

    def keep(self) -> None:
        """Write everything that is not acknowledged to the spool, as far as it takes it: this is the end."""
        if self.spool is None:
            return
        try:
            self._write_outbox(self.spool)
            while self._buffer or self._taken:
                self._write_buffer(self.spool)
        except SpoolRefusedError as error:
            self._tell_refusal(self.spool, error)

    def _is_wanted(self, stalled: bool, now_s: float) -> bool:
        return (stalled or self._buffer.used_bytes >= self._high_bytes) and now_s >= self._again_at_s

    def _pass_on(self) -> None:
        """Straight on, as ever while Kafka keeps up."""
        put, places = self._outbox.put, self._places
        for entry in self._take(TAKE_ENTRIES_MAX):
            put(entry, places(entry))
        self._taken.clear()

    def _fill(self, spool: Spool, now_s: float) -> bool:
        """By way of the spool."""
        if now_s < self._again_at_s:
            return False
        try:
            self._write_outbox(spool)
            self._write_buffer(spool)
        except SpoolRefusedError as error:
            self._again_at_s = now_s + REFUSED_PAUSE_S
            self._tell_refusal(spool, error)
            return False
        return True

    def _write_outbox(self, spool: Spool) -> None:
        """Write what is in memory without a row, the oldest first, and let go of what waits: it is read back."""
        loose = self._outbox.above(spool.last)
        if not loose:
            return
        spool.hand_out(loose[-1].number)  # some of it is in flight
        for part in _parts(loose, spool):
            self._append(spool, part)
            self._cursor = spool.last + 1
        self._cursor = self._outbox.forget_waiting() or self._cursor

    def _write_buffer(self, spool: Spool) -> None:
        for part in _parts(list(self._take(SPOOL_ENTRIES_MAX)), spool):
            self._append(spool, part)
            for entry in part:
                self._taken.popleft()
                self._buffer.free(entry.cost_bytes)

    def _append(self, spool: Spool, part: Sequence[Entry]) -> None:
        first = spool.is_empty
        spool.append(part)
        self._stats.spooled += len(part)
        if first:
            log.warning("spool.in_use", path=str(spool.path), buffer_bytes=self._buffer.used_bytes)

    def _take(self, entries_max: int) -> deque[Entry]:
        """Return what comes next, numbered; it stays in `_taken` until it has found its place."""
        if not self._taken:
            self._number(self._buffer.take(entries_max))
        return self._taken

    def _number(self, entries: Iterable[Entry]) -> None:
        for entry in entries if self._mender is None else self._mended(entries, self._mender):
            self._newest += 1
            entry.number = self._newest
            self._taken.append(entry)

    def _mended(self, entries: Iterable[Entry], mender: Mender) -> Iterator[Entry]:
        for entry in entries:
            if isinstance(entry, MarkEntry):
                marks = mender.mended(entry)
                self._buffer.hold(sum(mark.cost_bytes for mark in marks) - entry.cost_bytes)
                yield from marks
            else:
                yield entry

    # Back into memory

    def _read(self, spool: Spool) -> None:
        """Read the next rows, and drop those that are acknowledged."""
        if not self.is_readable:
            return
        try:
            entries = spool.read(self._cursor, self._read_bytes)
        except SpoolUnreadableError as error:
            self._lose(spool, error)
            return
        try:
            oldest = self._outbox.oldest or self._cursor
            spool.hand_out(entries[-1].number, acknowledged_before=min(oldest, self._cursor))
            self._again_at_s = 0.0
        except SpoolRefusedError as error:  # rather twice, should we be killed now, than not at all
            self._tell_refusal(spool, error)
        self._cursor = entries[-1].number + 1
        for entry in entries:
            self._buffer.hold(entry.cost_bytes)
            if self._compared_to < entry.number <= self._leftovers_to:
                self._compare(entry)
            self._outbox.put(entry, self._places(entry))

    def _compare(self, entry: Entry) -> None:
        """Take note of where an earlier producer's entry stands already."""
        assert self._published is not None
        places = self._places(entry)
        missing = len(places)
        for place in places:
            if self._published.has(entry, place):
                self._outbox.pass_over(place, entry.number)
                missing -= 1
        self._stats.recovered += missing > 0
        self._compared_to = entry.number

    def _sweep(self) -> None:
        """Empty the spool once everything in it is acknowledged."""
        spool = self.spool
        if spool is None:
            return
        acknowledged = not self._behind and (self._outbox.oldest or spool.last + 1) > spool.last
        if acknowledged and not spool.is_empty and spool.clear():
            self._refusal_told = False
            log.info("spool.drained", path=str(spool.path))
        self._stats.spool_bytes = 0 if spool.is_empty else spool.used_bytes

    def _lose(self, spool: Spool, error: SpoolUnreadableError) -> None:
        """Go on without what cannot be read; what comes after it must not claim its time."""
        lost = spool.last + 1 - self._cursor
        self._stats.spool_lost += lost
        self._stats.spool_bytes = self._stats.spool_bytes_max = 0
        self.spool, self._mender = None, Mender()
        spool.set_aside(error)
        log.error("spool.lost", records=lost)
        taken, self._taken = self._taken, deque()
        self._number(taken)

    def _tell_refusal(self, spool: Spool, error: SpoolRefusedError) -> None:
        if not self._refusal_told:
            self._refusal_told = True
            log.error(
                "spool.refused",
                path=str(spool.path),
                error=str(error),
                remedy="memory is what is left: make room on the disk, or raise --spool-mib",
            )

    # Spools

    def use(self, spool: Spool) -> Suspects:
        """Go on with this spool: an empty one, or, while `is_idle`, one that an earlier producer left.

        Return what of it has to be looked for in Kafka; nothing is read before `compare_with`. Raises
        SpoolUnreadableError.
        """
        suspects = Suspects(spool.suspects())
        if not spool.is_empty:
            self._outbox.begin_anew()
            self._newest = spool.last
            log.warning("spool.leftovers", path=str(spool.path), bytes=spool.used_bytes)
        self.close()
        self.spool = spool
        self._cursor, self._leftovers_to, self._compared_to = spool.first or 1, spool.last, 0
        self._published = None
        self._stats.spool_bytes_max = spool.bytes_max
        return suspects

    def compare_with(self, published: Published) -> None:
        """Begin to read what an earlier producer left: so much of it is in Kafka."""
        self._published = published

    def close(self) -> None:
        """Close the spool; what stands in it stays there."""
        if self.spool is not None:
            self._sweep()
            self.spool.close()
            self.spool = None


def _parts(entries: Sequence[Entry], spool: Spool) -> Iterator[Sequence[Entry]]:
    """Cut entries into what is written at once: little beside the spool's bound."""
    bytes_max = min(APPEND_BYTES_MAX, spool.bytes_max // 8)
    begin = used_bytes = 0
    for end, entry in enumerate(entries):
        used_bytes += entry.cost_bytes
        if used_bytes > bytes_max and end > begin:
            yield entries[begin:end]
            begin, used_bytes = end, entry.cost_bytes
    if entries:
        yield entries[begin:]
