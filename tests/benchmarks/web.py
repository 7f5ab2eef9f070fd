"""What it costs a worker to be looked at, and how soon a record is on the wire of `/events`.

    python -m tests.benchmarks.web --json build/benchmarks/web.json

throughput   a worker takes up the same backlog again and again, under a new app id each time; every other time with 200
             open event streams and 500 requests a second to the JSON routes
on the wire  from sending a record to the broker to its window in the events of a stream, at 1,000 frames a second
"""

import asyncio
import json
import statistics
import sys
import time
import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from schemas.channels import LIQUIDATIONS
from schemas.topics import Topics
from tests.benchmarks import loading
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.command import in_a_folder, options, save
from tests.benchmarks.latency import WARM_UP_SECONDS, fed, percentiles
from tests.benchmarks.scrape import scrape
from tests.benchmarks.streams import of_the_feed
from tests.integration.processes import worker

#: What is measured lies between these shares of the backlog: a start is not, nor is an end.
FROM_SHARE, TO_SHARE = 0.1, 0.95


@asynccontextmanager
async def looked_at(web, args):
    """Have a process look at a worker; yields what it saw, once it has."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.web_load", web),
        *("--streams", str(args.streams), "--requests", str(args.requests), *(["--plain"] if args.plain else [])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    seen = {}
    try:
        await process.stdout.readline()
        yield seen
        out, _ = await process.communicate(b"\n")
        seen.update(json.loads(out))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(running, frames):
    """Return the scrape and the time at which a worker has processed so many frames."""
    while (now := await scrape(running)).frames < frames:  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.05)
    return now, time.perf_counter()


async def catch_up(broker, topics, folder, args, looking):
    """Let a new worker take up the backlog; return frames/s, and the CPU a million frames cost."""
    async with worker(broker, folder, topics.prefix, app_id=f"web-{uuid.uuid4().hex[:8]}") as running:
        await running.until_ready()
        if looking:
            async with looked_at(running.web, args) as seen:
                found = await measured(running, args.frames)
            found["seen"] = seen
        else:
            found = await measured(running, args.frames)
        assert await running.stop() == 0, running.log.read_text()
    return found


async def measured(running, frames):
    """Measure one run through the backlog."""
    before, began = await until(running, frames * FROM_SHARE)
    after, ended = await until(running, frames * TO_SHARE)
    done = after.frames - before.frames
    return {"frames_per_s": done / (ended - began), "cpu_s_per_million": (after.cpu_s - before.cpu_s) / done * 1e6}


async def throughput(broker, args, folder):
    """Measure in turn, with nobody looking and with everybody."""
    topics = Topics(f"web-{uuid.uuid4().hex[:8]}")
    await loading.make_topics(broker, topics)
    producer = loading.producer(broker)
    async with producer:
        await loading.write(producer, topics, of_the_feed(args.frames))
    found = {"alone": [], "looked_at": []}
    for _ in range(args.rounds):
        for name, looking in (("alone", False), ("looked_at", True)):
            one = await catch_up(broker, topics, folder, args, looking)
            print(
                f"{name}: {one['frames_per_s']:,.0f} frames/s, {one['cpu_s_per_million']:.2f} CPU s a million",
                one.get("seen", ""),
                flush=True,
            )
            found[name].append(one)
    for what in ("frames_per_s", "cpu_s_per_million"):
        alone, looked = (statistics.median(one[what] for one in found[name]) for name in ("alone", "looked_at"))
        found[f"{what}_ratio"] = looked / alone
        print(f"{what}: {looked / alone:.3f} of what it is alone", flush=True)
    return found


async def on_the_wire(broker, args, folder):
    """Measure from sending a record to its window in a stream of events."""
    topics = Topics(f"wire-{uuid.uuid4().hex[:8]}")
    await loading.make_topics(broker, topics)

    def topic_of(channel):
        return topics.raw_liquidations if channel == LIQUIDATIONS else topics.raw_trades

    sinks = [topics.liquidation_volume("1m")]
    async with (
        fed(broker, sinks, topic_of, args) as (producer, feed, _),
        worker(broker, folder, topics.prefix) as running,
    ):
        await running.until_ready()
        await feed.run(WARM_UP_SECONDS)
        feeding = asyncio.create_task(feed.run(3_600))
        reader, writer = await asyncio.open_connection(urlsplit(running.web).hostname, urlsplit(running.web).port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: bench\r\n\r\n")
        seen = {}
        reading = asyncio.create_task(note(reader, seen))
        sent = {}
        for n in range(args.probes):
            asset, timestamp_ms = f"PROBE{n}X", feed.timestamp_ms()
            record = {"baseAsset": asset, "exName": "Bench", "price": 1.0, "side": 1, "symbol": asset}
            frame = {"channel": LIQUIDATIONS, "data": [{**record, "time": timestamp_ms, "volUsd": 1.0}]}
            sent[asset] = time.perf_counter()
            await producer.send(
                topics.raw_liquidations,
                msgspec.json.encode(frame),
                key=LIQUIDATIONS.encode(),
                timestamp_ms=timestamp_ms,
            )
            await asyncio.sleep(0.053)  # out of step with the worker's fetches and the events' pace
        await asyncio.sleep(2)
        for task in (feeding, reading):
            task.cancel()
        await asyncio.gather(feeding, reading, return_exceptions=True)
        writer.close()
        assert await running.stop() == 0, running.log.read_text()
    assert seen.keys() == sent.keys(), sorted(sent.keys() - seen.keys())[:5]
    return [(seen[asset] - at) * 1e3 for asset, at in sent.items()]


async def note(reader, seen):
    """Note when each probe's asset is told of first."""
    while line := await reader.readuntil(b"\n"):
        now, pieces = time.perf_counter(), line.split(b'"asset":"PROBE')
        for piece in pieces[1:]:
            seen.setdefault("PROBE" + piece.split(b'"')[0].decode(), now)


async def measure(args, folder):
    """Measure both on one broker."""
    async with given_or_embedded(args.broker, folder / "kafka") as broker:
        wire = await on_the_wire(broker, args, folder)
        print("on the wire, ms:", {cut: round(value, 1) for cut, value in percentiles(wire).items()}, flush=True)
        return {"wire_ms": wire, **(await throughput(broker, args, folder) if args.rounds else {})}


def main():
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=2_000_000, help="of the backlog")
    parser.add_argument("--rounds", type=int, default=3, help="of the throughput; 0 for the wire alone")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--plain", action="store_true", help="streams that are not compressed, as no browser asks for")
    parser.add_argument("--requests", type=float, default=500, help="a second")
    parser.add_argument("--rate", type=int, default=1_000, help="frames a second, on the wire")
    parser.add_argument("--speed-up", type=int, default=1, help="event time against the clock, on the wire")
    parser.add_argument("--probes", type=int, default=200)
    args = parser.parse_args()
    found = in_a_folder(measure, args)
    save(found, args.json)


if __name__ == "__main__":
    main()
