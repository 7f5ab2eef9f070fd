"""Whether changelogs stay bounded: their size, and how long a fresh worker recovers, after few frames and after many.

    python -m tests.fault.changelog_growth --frames 10000000

Both times an hour's worth of one-minute windows has passed, so that the live rows are as many. `--rate` writes no
faster than so: then there are as many transactions as in that much time of real life.
"""

import argparse
import asyncio
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer, TopicPartition

from broker.admin import connected, ensure_topics
from sandbox.ports import free_port
from schemas.durations import parse_duration
from schemas.topics import MARK_KEY, Topics
from tests.fault.brokers import OneBroker
from tests.fault.check import changelog_of, sources_of, until_processed
from tests.fault.frames import LIQUIDATIONS, TRADES, partition_of
from tests.fault.settings import PARTITIONS
from tests.fault.stands import log_ends, rows_of
from tests.fault.workers import Workers, worker_slot

HOUR_MS = 3_600_000
FEW_FRAMES = 100_000
BATCH_BYTES = 256 << 10
PROCESS_SECONDS_MAX = 7_200.0
_LOADED = re.compile(r"event=engine\.recovered .*\btaken=\"[^\"]* .*\bfence_ms=(\d+) load_ms=(\d+)")


@dataclass(frozen=True)
class Size:
    """What stood after so many frames."""

    frames: int
    changelog_bytes: int  # on the broker's disk
    changelog_records: int  # ever written, transactions' markers too
    rows: int  # live
    fence_ms: int
    load_ms: int  # a fresh worker's recovery of all partitions
    seconds: float  # to write and process them


class Writer:
    """Writes frames as fast as Kafka takes them, or at a rate; event time goes as if an hour passed."""

    def __init__(self, bootstrap: str, topics: Topics, rate: float | None) -> None:
        self._bootstrap, self._topics, self._rate = bootstrap, topics, rate

    async def write(self, count: int, from_ms: int) -> None:
        """Write so many frames over the hour that begins then."""
        began, sent = time.monotonic(), 0
        async with AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, enable_idempotence=True, max_batch_size=BATCH_BYTES
        ) as producer:
            batches = {TopicPartition(*source): producer.create_batch() for source in sources_of(self._topics)}
            for place, key, value, at_ms in self._records(count, from_ms):
                while batches[place].append(key=key, value=value, timestamp=at_ms) is None:
                    await self._send(producer, batches, place)
                sent += 1
                if self._rate and sent % 200 == 0:
                    for other in batches:
                        await self._send(producer, batches, other)
                    await asyncio.sleep(began + sent / self._rate - time.monotonic())
            for place in list(batches):
                await self._send(producer, batches, place)
            await producer.flush()

    async def _send(self, producer: AIOKafkaProducer, batches: dict, place: TopicPartition) -> None:
        batch, batches[place] = batches[place], producer.create_batch()
        if batch.record_count():
            batch.close()
            await producer.send_batch(batch, place.topic, partition=place.partition)

    def _records(self, count: int, from_ms: int) -> Iterator[tuple[TopicPartition, bytes, bytes, int]]:
        ways = [
            *(self._way(self._topics.raw_trades, partition_of(channel.encode()), channel, "BTC") for channel in TRADES),
            *(self._way(self._topics.raw_liquidations, p, LIQUIDATIONS, f"BTC{p}") for p in range(PARTITIONS)),
        ]
        marked_ms = 0
        for number in range(count):
            at_ms = from_ms + number * HOUR_MS // count
            place, key, form = ways[number % len(ways)]
            yield place, key, form % (at_ms, number % 9_000), at_ms
            if at_ms >= marked_ms + 1_000:
                marked_ms = at_ms
                yield from self._marks(at_ms, "up" if number == 0 else "alive")

    def _way(self, topic: str, partition: int, channel: str, asset: str) -> tuple[TopicPartition, bytes, bytes]:
        form = (
            f'{{"channel":"{channel.replace("%", "%%")}","data":[{{"baseAsset":"{asset}","exName":"Binance",'
            '"price":56738.25,"side":2,"symbol":"BTCUSDT","time":%d,"volUsd":%d.125}]}'
        )
        return TopicPartition(topic, partition), channel.encode(), form.encode()

    def _marks(self, at_ms: int, kind: str) -> Iterator[tuple[TopicPartition, bytes, bytes, int]]:
        body = {"kind": kind, "at_ms": at_ms, "heard_at_ms": at_ms, "connection": "one"}
        value = json.dumps({**body, "channels": [*TRADES, LIQUIDATIONS]}).encode()
        for source in sources_of(self._topics):
            yield TopicPartition(*source), MARK_KEY, value, at_ms


async def grow(frames: int, rate: float | None, folder: Path) -> list[Size]:
    """Return the sizes after few frames, and after all."""
    async with OneBroker(folder / "kafka") as kafka:
        name = f"growth-{uuid.uuid4().hex[:8]}"
        topics = Topics(name)
        async with connected(kafka.bootstrap) as client:
            await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs([parse_duration("1m")])])
        flags = ["--broker", kafka.bootstrap, "--topic-prefix", name, "--app-id", name, "--window", "1m"]
        workers = Workers(folder, [worker_slot(0, flags, folder, member="only", web_port=free_port())], name)
        workers.pause_seconds = 0.0
        writer = Writer(kafka.bootstrap, topics, rate)
        from_ms = time.time_ns() // 1_000_000 - 2 * HOUR_MS - 60_000
        sizes = []
        try:
            await workers.scale(1)
            await workers.until_ready(60)
            for number, count in enumerate((FEW_FRAMES, frames - FEW_FRAMES)):
                began = time.monotonic()
                await writer.write(count, from_ms + number * HOUR_MS)
                behind = await until_processed(kafka.bootstrap, topics, name, PROCESS_SECONDS_MAX)
                assert not behind, behind
                taken = time.monotonic() - began
                sizes.append(await _size(FEW_FRAMES if number == 0 else frames, taken, kafka, topics, workers, folder))
            await workers.stop_all()
        finally:
            await workers.kill_all()
        return sizes


async def _size(frames: int, seconds: float, kafka: OneBroker, topics: Topics, workers: Workers, folder: Path) -> Size:
    app_id = topics.prefix
    changelogs = [changelog_of(topics, app_id, source) for source in sources_of(topics)]
    ends = await log_ends(kafka.bootstrap, changelogs)
    rows = sum([len(await rows_of(kafka.bootstrap, changelog)) for changelog in changelogs])
    stored = sum(
        path.stat().st_size
        for place in changelogs
        for path in (folder / "kafka" / "topics" / f"{place.topic}-{place.partition}").glob("*.log")
    )
    (life,) = workers.untouched()
    life.hit("kill", signal.SIGKILL)
    await life.process.wait()
    fresh = len(workers.lives)
    while (loaded := _loaded(workers, fresh)) is None:  # noqa: ASYNC110 - it is another process's log
        await asyncio.sleep(0.2)
    return Size(frames, stored, sum(ends.values()), rows, int(loaded[1]), int(loaded[2]), round(seconds, 1))


def _loaded(workers: Workers, fresh: int) -> "re.Match[str] | None":
    """Return what the worker that was started last says of its recovery, once it is another one and has said it."""
    text = workers.lives[-1].log.read_text(errors="replace") if len(workers.lives) > fresh else ""
    return _LOADED.search(text)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.changelog_growth", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, help="frames a second at most; as fast as can be unless given")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    logging.basicConfig(filename=folder / "growth.log")
    try:
        sizes = asyncio.run(grow(given.frames, given.rate, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for size in sizes:
        print(
            f"  {size.frames:>11,} frames: changelogs {size.changelog_bytes / 1e6:.1f} MB, "
            f"{size.changelog_records:,} records written, {size.rows:,} rows live; "
            f"recovered in {size.fence_ms} ms to fence and {size.load_ms} ms to load; {size.seconds:.0f} s"
        )
    few, many = sizes
    print(json.dumps([asdict(size) for size in sizes]))
    # As fast, within what two noisy cores can tell apart.
    sys.exit(many.load_ms > 2 * few.load_ms + 1_000)


if __name__ == "__main__":
    main()
