"""Which gaps must be told, by brute force over all marks of a partition, and how those that were told differ. Pure.

marks     ├──── heard ────┤        ├─ heard ─┤      ├──── heard ────▶
missing                   ├────────┤         ├──────┤
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.oracle import Mark, covered_spans

Intervals = list[tuple[int, int]]


def gap_problems(marks: Sequence[Mark], mark_delay_ms: int, told: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return where the values of `feed_gap` that were told are not the time that no connection covered.

    `marks` are all of one partition, as they stand in it. Each gap that ended so long ago that no mark could come any
    more must be told; nothing else may be, but where a mark came all the same.
    """
    told = list(told)
    by_channel: defaultdict[str, Intervals] = defaultdict(list)
    problems = [f"an empty gap was told: {gap}" for gap in told if gap["from"] >= gap["to"]]
    for gap in told:
        for channel in gap["channels"]:
            by_channel[channel].append((gap["from"], gap["to"]))
    final_ms = max((mark.at_ms for mark in marks), default=0) - mark_delay_ms
    late = late_marks(marks, mark_delay_ms)
    for channel in sorted({channel for mark in marks for channel in mark.channels} | by_channel.keys()):
        covered, said = covered_by_any(marks, channel), union(by_channel[channel])
        must = [(begin, end) for begin, end in between(covered) if end <= final_ms]
        problems += [f"{channel}: not told that nobody heard it in [{a}, {b})" for a, b in less(must, said)]
        wrongly = overlap(said, covered)
        if wrongly and not late:
            problems += [f"{channel}: told that nobody heard it in [{a}, {b}), but it was" for a, b in wrongly]
    return problems


def late_marks(marks: Sequence[Mark], mark_delay_ms: int) -> int:
    """Return how many marks came when gaps of the time that they speak of were told already.

    Such as the first mark of a producer that stood still for a while: it has heard all that came meanwhile.
    """
    late, told_to_ms = 0, -(2**62)
    spoken_to_ms: dict[str, int] = {}
    for mark in marks:
        late += min(mark.at_ms, spoken_to_ms.get(mark.connection, mark.at_ms)) <= told_to_ms
        spoken_to_ms[mark.connection] = min(mark.heard_at_ms, mark.at_ms)
        told_to_ms = max(told_to_ms, mark.at_ms - mark_delay_ms)
    return late


def covered_by_any(marks: Iterable[Mark], channel: str) -> Intervals:
    """Return when at least one connection heard the channel."""
    by_connection: defaultdict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_connection[mark.connection].append(mark)
    return union(span for of_one in by_connection.values() for span in covered_spans(of_one, channel))


def union(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """Return the same time in as few intervals as possible.

    >>> union([(5, 8), (1, 3), (3, 4), (6, 7)])
    [(1, 4), (5, 8)]
    """
    found: Intervals = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif end > begin:
            found.append((begin, end))
    return found


def between(intervals: Intervals) -> Intervals:
    """Return the time between the intervals of a union."""
    return [(before[1], after[0]) for before, after in pairwise(intervals)]


def overlap(some: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Intervals:
    """Return the time that is in both."""
    others = union(others)
    shared = ((max(a, c), min(b, d)) for a, b in union(some) for c, d in others)
    return union((begin, end) for begin, end in shared if begin < end)


def less(some: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Intervals:
    """Return the time that is in `some` and not in `others`.

    >>> less([(0, 10)], [(2, 3), (5, 20)])
    [(0, 2), (3, 5)]
    """
    left = []
    others = union(others)
    for begin, end in union(some):
        for other_begin, other_end in others:
            if other_end <= begin or other_begin >= end:
                continue
            if other_begin > begin:
                left.append((begin, other_begin))
            begin = max(begin, other_end)
        if begin < end:
            left.append((begin, end))
    return left
