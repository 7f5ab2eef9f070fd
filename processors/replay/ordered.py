"""One order for the results of many partitions, the same every time. Pure.

Results are ordered by (receive time of the record that caused them, topic, partition), and those of one partition as
they came, which is by offset. A result is given out once no partition can bring an earlier one any more:

    frontier   of a partition: all that it will still bring stands at this place or later
    cut        the lowest frontier; what stands up to it is released
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import NamedTuple

from processors.engine.step import Result

#: Where something stands in the order: receive time in UTC ms, topic, partition.
Place = tuple[int, str, int]

BEFORE_ALL: Place = (-(2**62), "", -1)


class Replayed(NamedTuple):
    """A result and its place in the order.

    `available_at_ms` is when the live system could first have known it: the receive time of the record that caused it,
    or the highest before that in its partition, where receive times went back.
    """

    place: Place
    result: Result
    partial: bool = False  # the window is cut by an edge of the range

    @property
    def available_at_ms(self) -> int:
        """UTC ms."""
        return self.place[0]


_place = attrgetter("place")


class Ordered:
    """Puts streams, each in order already, into one order. Streams share no (topic, partition)."""

    def __init__(self, streams: Iterable[Hashable]) -> None:
        self._frontiers: dict[Hashable, Place] = dict.fromkeys(streams, BEFORE_ALL)
        self._held: list[Replayed] = []
        self.held_bytes = 0

    @property
    def held(self) -> int:
        """How many results wait."""
        return len(self._held)

    @property
    def cut(self) -> Place | None:
        """What stands up to here can be released; None where all streams have ended."""
        return min(self._frontiers.values(), default=None)

    @property
    def unfinished(self) -> Iterable[Hashable]:
        """The streams that have not ended."""
        return self._frontiers.keys()

    def slowest(self) -> list[Hashable]:
        """Return the stream that all others wait for, if any is left."""
        return [min(self._frontiers, key=self._frontiers.__getitem__)] if self._frontiers else []

    def add(self, stream: Hashable, results: Iterable[Replayed], frontier: Place) -> None:
        """Take more of a stream: all that follows of it stands at `frontier` or later."""
        for one in results:
            self._held.append(one)
            self.held_bytes += _weight(one)
        self._frontiers[stream] = frontier

    def end(self, stream: Hashable) -> None:
        """Wait for this stream no more."""
        del self._frontiers[stream]

    def release(self) -> list[Replayed]:
        """Return, in order, what nothing can come before any more."""
        if not self._held:
            return []
        self._held.sort(key=_place)  # stable: a partition's results stay as they came
        cut = self.cut
        if cut is None:
            released, self._held = self._held, []
        else:
            after = bisect_right(self._held, cut, key=_place)
            released, self._held = self._held[:after], self._held[after:]
        self.held_bytes -= sum(map(_weight, released))
        return released


def _weight(one: Replayed) -> int:
    """Return about how many bytes of memory a result takes."""
    return 300 + len(one.result.key or b"") + len(one.result.value or b"")
