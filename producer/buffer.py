"""The buffer between the thread that reads the feed and the loop that publishes: first in, first out, bounded by bytes.

The threads that read the feed put, one loop takes and frees. What was taken still counts until it is freed, that is
acknowledged by Kafka: the bound holds for everything the producer answers for. Only putting takes a lock: the other
counter has one writer, and a deque's append and popleft are atomic.
"""

from collections import deque
from collections.abc import Callable
from threading import Lock

from producer.entries import Entry


class Buffer:
    """Holds up to `bytes_max`; `wake` is called from the putting thread when the taker waits and something came."""

    def __init__(self, bytes_max: int, wake: Callable[[], object] = lambda: None) -> None:
        self.bytes_max = bytes_max
        self._wake = wake
        self._entries: deque[Entry] = deque()
        self._put_bytes = 0
        self._freed_bytes = 0
        self._awaited = False
        self._putting = Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries that are not freed yet."""
        return self._put_bytes - self._freed_bytes

    @property
    def roomy(self) -> bool:
        """Whether so much room is back that it is worth keeping frames again: half of it, so that gaps are few."""
        return self.used_bytes * 2 <= self.bytes_max

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> bool:
        """Append the entry; False if it does not fit."""
        with self._putting:
            if self.used_bytes + entry.cost_bytes > self.bytes_max:
                return False
            self._append(entry)
        return True

    def put_always(self, entry: Entry) -> None:
        """Append the entry though it may not fit: for the one mark that says that something did not."""
        with self._putting:
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        self._put_bytes += entry.cost_bytes
        self._entries.append(entry)
        if self._awaited:
            self._awaited = False
            self._wake()

    def take(self, entries_max: int) -> list[Entry]:
        """Return the oldest entries, up to so many, and hold them against the bound until they are freed."""
        count = min(entries_max, len(self._entries))
        return [self._entries.popleft() for _ in range(count)]

    def free(self, used_bytes: int) -> None:
        """Give back the room of entries that were taken."""
        self._freed_bytes += used_bytes

    def hold(self, used_bytes: int) -> None:
        """Take room for entries that came another way; the bound is not asked."""
        self._freed_bytes -= used_bytes

    def await_entry(self) -> bool:
        """Ask to be woken by the next entry; False if there is one already."""
        self._awaited = True
        if self._entries:  # looked at after asking: what comes in between either is seen here or wakes
            self._awaited = False
            return False
        return True
