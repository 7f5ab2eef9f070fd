"""The bare loop: fetch with aiokafka as it is, decode with our decoder, fold into a dict. No state kept, no output.

It is the limit that the worker is measured against: what a worker does beyond this is its price for being exact.

    python -m tests.benchmarks.bare_loop --broker 127.0.0.1:9092 --json bare.json TOPIC…
"""

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.frames import decode_plain_frame
from schemas.topics import MARK_KEY

WINDOW_MS = 60_000
LIQUIDATIONS = "liquidationOrders"

Cells = dict[tuple[str, int], list]


def fold(records: Iterable, cells: Cells) -> int:
    """Add up all frames' records by name and minute; returns how many frames."""
    frames = 0
    for record in records:
        if record.key == MARK_KEY:
            continue
        frame = decode_plain_frame(record.value)
        frames += 1
        liquidation, name = frame.channel == LIQUIDATIONS, frame.channel
        for item in frame.data:
            if liquidation:
                name = item.baseAsset
            key = name, item.time - item.time % WINDOW_MS
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = [0.0, 0.0, 0, 0]
            cell[item.side - 1] += item.volUsd
            cell[item.side + 1] += 1
    return frames


async def drain(bootstrap: str, topics: Iterable[str]) -> dict:
    """Read the topics to their present ends and say what it took, from the first request to the last record."""
    # Fetches as large as the worker's: at aiokafka's own 1 MiB it would be a lower bar.
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    ) as consumer:
        counts = {topic: await _partitions(consumer, topic) for topic in topics}
        places = [TopicPartition(topic, number) for topic, numbers in counts.items() for number in numbers]
        ends = await consumer.end_offsets(places)
        cells: Cells = {}
        frames, behind = 0, {place for place in places if ends[place]}
        began, cpu_began = time.perf_counter(), time.process_time()
        consumer.assign(places)
        while behind := {place for place in behind if await consumer.position(place) < ends[place]}:
            for records in (await consumer.getmany(*behind, timeout_ms=100)).values():
                frames += fold(records, cells)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "frames": frames,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "cells": [[*key, cell] for key, cell in cells.items()],
    }


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)  # a consumer knows nothing of a topic before it is assigned
    return consumer.partitions_for_topic(topic) or set()


def main() -> None:
    """Drain, report, and wait for SIGTERM, so that whoever started it can still look at its memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bare_loop", description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    began = time.perf_counter()
    report = asyncio.run(drain(given.broker, given.topics))
    report |= {"since_start_s": time.perf_counter() - began, "cpu_since_start_s": time.process_time()}
    whole = given.json.with_suffix(".part")
    whole.write_text(json.dumps(report))
    whole.rename(given.json)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # for sigwait
    main()
