"""What one raw partition must turn into: by the oracle, and by the pure pipeline run over it in one go.

Runs in a process of its own, over a file that the partition was copied to, and holds one record at a time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from processors.engine.positions import encode_position, position_key
from processors.pipeline import PartitionPipeline, PipelineSettings
from processors.windows import window_sizes
from schemas import topics as names
from schemas.codec import decode_plain, encoder, single_object_header
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests import oracle
from tests.fault.compare import Output, differences
from tests.fault.frames import partition_of
from tests.fault.gaps import gap_problems
from tests.fault.settings import GRACE_MS, MARK_DELAY_MS, WINDOWS, oracle_settings
from tests.fault.sources import Source, Stream
from tests.oracle import read_mark

#: Marks that the oracle is let forget: it keeps all, and asks all of them about every final. No window of a storm
#: is so long.
FORGET_MS = 120_000
FORGET_EVERY = 10_000  # records


class RawRow(NamedTuple):
    """A record of a raw topic, as copied to a file."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass
class Expected:
    """All that must stand on Kafka for one source partition."""

    streams: dict[Stream, list[Output]] = field(default_factory=dict)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    records: int = 0
    end: int = 0
    problems: list[str] = field(default_factory=list)


def read_rows(path: Path) -> Iterator[RawRow]:
    """Read a copied partition."""
    decoder = msgspec.msgpack.Decoder(RawRow)
    with path.open("rb") as file:
        while length := file.read(4):
            yield decoder.decode(file.read(int.from_bytes(length, "big")))


class _OnceRun(oracle._Run):
    """Counts a record once though several connections brought it: right where a feed sends none twice.

    Where no window of it is open any more, it is late each time.
    """

    def __init__(self, settings: oracle.OracleSettings) -> None:
        super().__init__(settings)
        self._counted: set[tuple[str, oracle.Record]] = set()

    def _count(
        self, raw: oracle.Raw, channel: str, market: oracle.Market | str, index: int, record: oracle.Record
    ) -> None:
        ends_ms = [record.time // size_ms * size_ms + size_ms for _, size_ms in self.settings.windows]
        is_open = self.watermark_ms is None or max(ends_ms) > self.watermark_ms
        if is_open and (channel, record) in self._counted:
            return
        self._counted.add((channel, record))
        super()._count(raw, channel, market, index, record)


def expect(path: Path, topics: Topics, source: Source, *, once: bool = False) -> Expected:
    """Return what must stand on Kafka, and where oracle and pipeline do not agree on it; the oracle tells no gaps.

    `once` where connections of a redundant group bring what one feed sent, and that sent nothing twice.
    """
    expected = by_pipeline(path, topics, source)
    told = by_oracle(path, topics, source, _OnceRun if once else oracle._Run)
    without_detail = {
        stream: [output.without_detail() for output in outputs]
        for stream, outputs in expected.streams.items()
        if stream.topic != topics.feed_gaps
    }
    expected.problems = [f"the pipeline departs from the oracle: {d}" for d in differences(told, without_detail)]
    if source == (topics.raw_liquidations, 0):
        expected.problems += [
            f"feed-gaps: {problem}" for problem in gaps_by_brute_force(path, topics, source, expected)
        ]
    return expected


def gaps_by_brute_force(path: Path, topics: Topics, source: Source, expected: Expected) -> list[str]:
    """Return where the gaps of the pipeline are not the time that no mark covers."""
    marks = [read_mark(row.value) for row in read_rows(path) if row.key == names.MARK_KEY]
    outputs = expected.streams.get(Stream(topics.feed_gaps, 0, source), [])
    return gap_problems(marks, MARK_DELAY_MS, [decode_plain("feed_gap", output.value or b"") for output in outputs])


def by_pipeline(path: Path, topics: Topics, source: Source) -> Expected:
    """Run a fresh pipeline over the partition, in one go."""
    sizes = window_sizes(tuple(parse_duration(name) for name, _ in WINDOWS))
    settings = PipelineSettings(topics, sizes, grace_ms=GRACE_MS, mark_delay_ms=MARK_DELAY_MS)
    pipeline, expected = PartitionPipeline(settings, *source), Expected()

    def counted() -> Iterator[RawRow]:
        for row in read_rows(path):
            expected.records += 1
            expected.end = row.offset + 1
            yield row

    pipeline.process(counted())
    changes = pipeline.take()
    for result in changes.results:
        stream = Stream(result.topic, 0 if result.key is None else partition_of(result.key), source)
        output = Output(result.key, result.value, result.timestamp_ms, tuple(result.headers))
        expected.streams.setdefault(stream, []).append(output)
    if expected.records:
        expected.rows = {key: row for key, row in changes.rows.items() if row is not None}
        expected.rows[position_key(source[1])] = encode_position(expected.end)
    return expected


def by_oracle(path: Path, topics: Topics, source: Source, run_type: type[oracle._Run]) -> dict[Stream, list[Output]]:
    """Ask the oracle; of the headers of dead letters it knows all but the free text."""
    run = run_type(oracle_settings(topics.prefix))
    for number, row in enumerate(read_rows(path)):
        run.take(row)
        if number % FORGET_EVERY == 0 and run.watermark_ms is not None:
            run.marks = [mark for mark in run.marks if mark.at_ms > run.watermark_ms - FORGET_MS]
    streams: dict[Stream, list[Output]] = {}
    for final in [*(f for finals in run.expected.finals.values() for f in finals), *run.expected.late]:
        stream = Stream(final.topic, partition_of(final.key), source)
        streams.setdefault(stream, []).append(Output(final.key, encoded(final), final.timestamp_ms))
    for letter in run.expected.dead:
        assert letter.key is not None
        stream = Stream(letter.topic, partition_of(letter.key), source)
        streams.setdefault(stream, []).append(
            Output(letter.key, letter.value, letter.timestamp_ms, headers_of(letter)).without_detail()
        )
    return streams


def encoded(final: oracle.Final) -> bytes:
    value: bytes = encoder(final.schema, single_object_header(final.schema))(final.value)
    return value


def headers_of(letter: oracle.DeadLetter) -> tuple[tuple[str, bytes], ...]:
    """Return a dead letter's headers, but for `error.detail`."""
    topic, partition, offset, timestamp = letter.source
    values: dict[str, Any] = {
        names.HEADER_REASON: letter.reason,
        names.HEADER_RECORDS: json.dumps(letter.indexes, separators=(",", ":")),
        names.HEADER_SOURCE_TOPIC: topic,
        names.HEADER_SOURCE_PARTITION: partition,
        names.HEADER_SOURCE_OFFSET: offset,
        names.HEADER_SOURCE_TIMESTAMP: timestamp,
    }
    return tuple((name, str(value).encode()) for name, value in values.items())
