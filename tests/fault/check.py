"""After a storm: everything on Kafka against what the raw topics say must stand there."""

import asyncio
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.app import tables_by_topic
from processors.views.board import Board, newest
from processors.windows import window_sizes
from schemas import topics as names
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.fault.compare import Output, count_differences, differences, row_differences
from tests.fault.expected import Expected, RawRow, expect
from tests.fault.settings import PARTITIONS, WINDOWS
from tests.fault.sources import Source, Stream, result_partitions, source_of
from tests.fault.stands import committed_records, group_offsets, log_ends, open_transactions, rows_of
from tests.fault.workers import get

OPEN_SECONDS_MAX = 45.0  # an owner's transaction that nobody aborts is open for 30 s
PROCESSES = 2
WEB_WINDOWS_MAX = 60


@dataclass
class Verdict:
    """What is wrong, and how much there was of everything."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[Source, dict[bytes, bytes]] = field(default_factory=dict)


def sources_of(topics: Topics) -> list[Source]:
    return [(topic, partition) for topic in topics.raw for partition in range(PARTITIONS)]


async def until_processed(bootstrap: str, topics: Topics, app_id: str, seconds_max: float) -> list[str]:
    """Wait until the group has committed the end of every raw partition; return what it has not."""
    places = [TopicPartition(*source) for source in sources_of(topics)]
    deadline = asyncio.get_running_loop().time() + seconds_max
    while True:
        ends, offsets = await log_ends(bootstrap, places), await group_offsets(bootstrap, app_id)
        behind = [p for p in places if offsets.get(p, 0) != ends[p]]
        if not behind or asyncio.get_running_loop().time() > deadline:
            return [f"{p.topic}/{p.partition}: the group is at {offsets.get(p)} of {ends[p]}" for p in behind]
        await asyncio.sleep(0.3)


async def check(bootstrap: str, topics: Topics, app_id: str, folder: Path, *, once: bool = False) -> Verdict:
    """Compare results, changelogs and offsets with what the raw topics say; `once` as in `expect`."""
    verdict, sources = Verdict(), sources_of(topics)
    results = result_partitions(topics)
    changelogs = {source: changelog_of(topics, app_id, source) for source in sources}
    still_open = await open_transactions(bootstrap, [*results, *changelogs.values()], OPEN_SECONDS_MAX)
    verdict.problems += [f"a transaction is still open: {place}" for place in still_open]

    expected = await expected_of(bootstrap, topics, sources, folder, once=once)
    wanted: dict[Stream, list[Output]] = {}
    for source in sources:
        wanted.update(expected[source].streams)
        verdict.problems += expected[source].problems
    found = await found_streams(bootstrap, topics, results)
    verdict.problems += differences(wanted, found)
    verdict.counts += count_differences(wanted, found)
    for stream, outputs in wanted.items():
        verdict.counts[_kind(stream, topics)] += len(outputs)
    verdict.counts["raw records"] = sum(e.records for e in expected.values())

    for source in sources:
        rows = await rows_of(bootstrap, changelogs[source])
        verdict.problems += [
            f"table of {source[0]}/{source[1]}: {d}" for d in row_differences(expected[source].rows, rows)
        ]
        verdict.counts["rows"] += len(rows)
    verdict.problems += await offset_problems(bootstrap, app_id, expected)
    verdict.rows = {source: expected[source].rows for source in sources}
    return verdict


def web_problems(rows: Mapping[Source, Mapping[bytes, bytes]], pages: Mapping[str, list[bytes]]) -> list[str]:
    """Return what the workers' pages show that the rows don't say, and the other way round.

    `pages` holds the answers of all live workers by path: each must show every window of the group.
    """
    board, problems = Board(window_sizes(tuple(parse_duration(name) for name, _ in WINDOWS))), list[str]()
    for source, of_source in rows.items():
        board.replace(source, of_source)
    for path, aggregate in (("/liquidations/", LIQUIDATION_VOLUME), ("/imbalance/", TRADE_IMBALANCE)):
        cells = [cell for line in board.lines(aggregate) for cell in newest(line, board.sizes, WEB_WINDOWS_MAX)]
        should = {_canonical(json.loads(bytes(board.encoded(cell)))) for cell in cells}
        for body in pages[path]:
            shown = {_canonical(w) for w in json.loads(body).get("windows", ())}
            if should != shown:
                some = [*sorted(should - shown)[:2], *sorted(shown - should)[:2]]
                problems.append(
                    f"{path}: {len(should - shown)} windows not shown, {len(shown - should)} wrongly shown: {some}"
                )
    return problems


async def pages_of(webs: Iterable[str]) -> dict[str, list[bytes]]:
    """Return what each worker shows."""
    paths = ("/liquidations/", "/imbalance/")
    return {path: [(await get(f"{web}{path}?windows={WEB_WINDOWS_MAX}"))[1] for web in webs] for path in paths}


def changelog_of(topics: Topics, app_id: str, source: Source) -> TopicPartition:
    return TopicPartition(f"{app_id}-{tables_by_topic(topics)[source[0]]}-changelog", source[1])


async def expected_of(
    bootstrap: str, topics: Topics, sources: list[Source], folder: Path, *, once: bool
) -> dict[Source, Expected]:
    """Copy each raw partition to a file, and have it judged in a process of its own."""
    loop, spawn = asyncio.get_running_loop(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        judged = []
        for source in sources:
            path = await copied(bootstrap, source, folder)
            judged.append(loop.run_in_executor(pool, partial(expect, path, topics, source, once=once)))
        return dict(zip(sources, await asyncio.gather(*judged), strict=True))


async def found_streams(bootstrap: str, topics: Topics, places: list[TopicPartition]) -> dict[Stream, list[Output]]:
    """Return all that a reader of committed records sees."""
    streams: dict[Stream, list[Output]] = {}
    for place in places:
        async for records in committed_records(bootstrap, place):
            for record in records:
                if record.topic == topics.dead_letters and not dict(record.headers).get(names.HEADER_SOURCE_TOPIC):
                    continue  # a producer's
                stream = Stream(place.topic, place.partition, source_of(record, topics))
                output = Output(record.key, record.value, record.timestamp, tuple(record.headers))
                streams.setdefault(stream, []).append(output)
    return streams


async def offset_problems(bootstrap: str, app_id: str, expected: Mapping[Source, Expected]) -> list[str]:
    """Return where the group's offsets are not at the ends of the raw partitions."""
    offsets, problems = await group_offsets(bootstrap, app_id), []
    for source, of_source in expected.items():
        at = offsets.get(TopicPartition(*source), 0)
        if at != of_source.end:
            problems.append(f"{source[0]}/{source[1]}: the group is at {at}, the log ends at {of_source.end}")
    return problems


async def copied(bootstrap: str, source: Source, folder: Path) -> Path:
    """Return a file with a partition's committed records; it is copied the first time."""
    path = folder / f"{source[0]}-{source[1]}.rows"
    if path.exists():
        return path
    encode = msgspec.msgpack.Encoder().encode
    with path.open("wb") as file:
        async for records in committed_records(bootstrap, TopicPartition(*source)):
            for r in records:
                row = encode(RawRow(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)))
                file.write(len(row).to_bytes(4, "big") + row)
    return path


def _kind(stream: Stream, topics: Topics) -> str:
    kinds = {topics.late: "late", topics.feed_gaps: "gaps", topics.dead_letters: "dead letters"}
    return kinds.get(stream.topic, "finals")


def _canonical(window: dict[str, Any]) -> str:
    return json.dumps(window, sort_keys=True)
