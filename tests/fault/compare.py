"""Expected against found, stream by stream: nothing missing, nothing extra, nothing out of order. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from schemas.topics import HEADER_DETAIL
from tests.fault.sources import Stream

SHOWN_MAX = 2
CHARACTERS_SHOWN_MAX = 120


class Output(NamedTuple):
    """A record of an output topic, byte for byte."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()

    def without_detail(self) -> Self:
        """Return it without the free text that only the pipeline itself can know."""
        return self._replace(headers=tuple(sorted(h for h in self.headers if h[0] != HEADER_DETAIL)))


Streams = Mapping[Stream, Sequence[Output]]


def differences(expected: Streams, found: Streams) -> list[str]:
    """Return a line for each stream that is not as it should be."""
    return [
        f"{stream.topic}/{stream.partition} from {stream.source[0]}/{stream.source[1]}: {what}"
        for stream in sorted({*expected, *found})
        if (what := _difference(expected.get(stream, ()), found.get(stream, ())))
    ]


def count_differences(expected: Streams, found: Streams) -> Counter[str]:
    """Return how many records are missing and how many extra, in all streams."""
    counts: Counter[str] = Counter()
    for stream in {*expected, *found}:
        wanted, there = Counter(expected.get(stream, ())), Counter(found.get(stream, ()))
        counts["missing"] += (wanted - there).total()
        counts["extra"] += (there - wanted).total()
    return +counts


def row_differences(expected: Mapping[bytes, bytes], found: Mapping[bytes, bytes]) -> list[str]:
    """Return what is wrong with a table's rows, a few of each kind."""
    lines = []
    for what, keys in (
        ("missing", expected.keys() - found.keys()),
        ("extra", found.keys() - expected.keys()),
        ("different", {key for key in expected.keys() & found.keys() if expected[key] != found[key]}),
    ):
        shown = [
            f"{key!r}: {_start(expected.get(key))} -> {_start(found.get(key))}" for key in sorted(keys)[:SHOWN_MAX]
        ]
        if keys:
            lines.append(f"{len(keys)} rows {what}: {'; '.join(shown)}")
    return lines


def _difference(expected: Sequence[Output], found: Sequence[Output]) -> str | None:
    if list(expected) == list(found):
        return None
    wanted, there = Counter(expected), Counter(found)
    missing, extra = list((wanted - there).elements()), list((there - wanted).elements())
    place = next(
        (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    if not missing and not extra:
        return f"out of order from number {place} of {len(expected)}"
    shown = [f"missing {_short(o)}" for o in missing[:SHOWN_MAX]] + [f"extra {_short(o)}" for o in extra[:SHOWN_MAX]]
    return f"{len(missing)} missing, {len(extra)} extra, from number {place} of {len(expected)}: {'; '.join(shown)}"


def _short(output: Output) -> str:
    return f"({output.key!r} at {output.timestamp_ms}: {_start(output.value)})"


def _start(value: bytes | None) -> str:
    return repr(value if value is None else value[:CHARACTERS_SHOWN_MAX])
