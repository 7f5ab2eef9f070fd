"""What of a spool Kafka has already: told from what stands in the topics, by headers and marks. Pure.

A frame or dead letter is known by its connection and its number there, wherever it stands. A mark has no number, and
two of one millisecond may be equal: those of a partition are counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from producer.entries import Entry, MarkEntry
from producer.outbox import Place
from schemas.topics import HEADER_CONNECTION, HEADER_SEQUENCE, MARK_KEY


class Suspects:
    """The entries that an earlier producer handed out: whether they arrived is to be found out."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.frames: set[tuple[bytes, int]] = set()
        self.marks: set[bytes] = set()
        #: None of them stands before the first record of this time, UTC ms; None without any.
        self.since_ms: int | None = None
        for entry in entries:
            if isinstance(entry, MarkEntry):
                self.marks.add(entry.payload)
            else:
                self.frames.add((entry.connection, entry.sequence))
            self.since_ms = entry.at_ms if self.since_ms is None else min(self.since_ms, entry.at_ms)


class Published:
    """Which of the suspects stand in the topics."""

    def __init__(self, suspects: Suspects | None = None) -> None:
        self._suspects = suspects or Suspects(())
        self._frames: set[tuple[bytes, int]] = set()
        self._marks: Counter[tuple[Place, bytes]] = Counter()

    def add(self, place: Place, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
        """Take one record of a topic."""
        if key == MARK_KEY:
            if value in self._suspects.marks:
                self._marks[place, value] += 1
            return
        named = dict(headers)
        connection, sequence = named.get(HEADER_CONNECTION), named.get(HEADER_SEQUENCE, b"")
        if connection is not None and sequence.isdigit():
            frame = (connection, int(sequence))
            if frame in self._suspects.frames:
                self._frames.add(frame)

    def has(self, entry: Entry, place: Place) -> bool:
        """Tell whether the entry stands at the place. Of equal marks it has as many as it found, the first ones."""
        if not isinstance(entry, MarkEntry):
            return (entry.connection, entry.sequence) in self._frames
        if not self._marks[place, entry.payload]:
            return False
        self._marks[place, entry.payload] -= 1
        return True
