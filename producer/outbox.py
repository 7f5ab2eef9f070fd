"""What is on its way to Kafka: for each partition what waits and what is in flight, in the order of the numbers. Pure.

Each partition is sent its entries in the order of their numbers. So one number a partition says what it was sent, and
an entry that was let go here and read back from the spool goes only where it did not go yet.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from producer.entries import Entry

#: A topic and the number of a partition of it.
Place = tuple[str, int]


class Outbox:
    """Holds entries until their partitions acknowledged them; `free` is told the cost of each that is let go."""

    def __init__(self, free: Callable[[int], object]) -> None:
        self._free = free
        self._waiting: dict[Place, deque[Entry]] = {}
        self._in_flight: dict[Place, list[Entry]] = {}
        self._sent: dict[Place, int] = {}  # the highest number that was handed to Kafka
        #: What waits and is not in flight; a mark counts once a partition.
        self.waiting_bytes = 0

    def __len__(self) -> int:
        """Return how many records are not acknowledged."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._in_flight.values()))

    @property
    def oldest(self) -> int | None:
        """The lowest number that is not acknowledged everywhere."""
        heads = [entries[0].number for entries in (*self._waiting.values(), *self._in_flight.values()) if entries]
        return min(heads, default=None)

    def put(self, entry: Entry, places: Iterable[Place]) -> None:
        """Queue an entry at those of its places that were not sent it; where that is none, let it go."""
        sent, number, cost_bytes, copies = self._sent, entry.number, entry.cost_bytes, 0
        for place in places:
            if number > sent.get(place, 0):
                waiting = self._waiting.get(place)
                if waiting is None:
                    waiting = self._waiting[place] = deque()
                waiting.append(entry)
                copies += 1
        entry.copies = copies
        self.waiting_bytes += cost_bytes * copies
        if not copies:
            self._free(cost_bytes)

    def pass_over(self, place: Place, number: int) -> None:
        """Take note that a place has everything up to a number already."""
        self._sent[place] = max(number, self._sent.get(place, 0))

    def ready(self) -> list[tuple[Place, Sequence[Entry]]]:
        """Return what waits at each place that nothing is in flight to."""
        return [
            (place, waiting) for place, waiting in self._waiting.items() if waiting and place not in self._in_flight
        ]

    def send(self, place: Place, count: int, cost_bytes: int) -> None:
        """Put the first entries of a place in flight, which cost so much together."""
        waiting = self._waiting[place]
        entries = self._in_flight[place] = [waiting.popleft() for _ in range(count)]
        self.waiting_bytes -= cost_bytes
        self._sent[place] = entries[-1].number

    def acknowledge(self, place: Place) -> list[Entry]:
        """Let go of what is in flight to a place, and return it."""
        entries = self._in_flight.pop(place)
        self._let_go(entries)
        return entries

    def take_back(self, place: Place) -> list[Entry]:
        """Put what is in flight to a place back where it was: Kafka has none of it. Return it."""
        entries = self._in_flight.pop(place)
        self._waiting[place].extendleft(reversed(entries))
        self.waiting_bytes += sum(entry.cost_bytes for entry in entries)
        self._sent[place] = entries[0].number - 1
        return entries

    def drop_first(self, place: Place) -> None:
        """Let go of what waits first at a place."""
        entry = self._waiting[place].popleft()
        self.waiting_bytes -= entry.cost_bytes
        self._sent[place] = entry.number
        self._let_go([entry])

    def above(self, number: int) -> list[Entry]:
        """Return the entries above a number, each once, in order."""
        held = (*self._waiting.values(), *self._in_flight.values())
        entries = {entry.number: entry for entries in held for entry in entries if entry.number > number}
        return [entries[found] for found in sorted(entries)]

    def forget_waiting(self) -> int | None:
        """Let go of what is not in flight: the spool has it. Return its lowest number, None if there was nothing."""
        first = min((waiting[0].number for waiting in self._waiting.values() if waiting), default=None)
        for waiting in self._waiting.values():
            self._let_go(waiting)
            waiting.clear()
        self.waiting_bytes = 0
        return first

    def begin_anew(self) -> None:
        """Take numbers from any on: for another spool. Nothing may be held."""
        assert not len(self)
        self._sent.clear()

    def _let_go(self, entries: Iterable[Entry]) -> None:
        free_bytes = 0
        for entry in entries:
            entry.copies -= 1
            if entry.copies == 0:
                free_bytes += entry.cost_bytes
        self._free(free_bytes)
