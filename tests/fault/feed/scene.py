"""Everything that takes part in a feed storm: how it is set up, how it comes to rest, and how it is judged."""

import asyncio
import contextlib
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from broker.admin import connected, ensure_topics
from sandbox.ports import free_port
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.fault.blows import BrokerBlows, Dealer, ProcessBlows
from tests.fault.brokers import Brokers
from tests.fault.check import check, copied, sources_of, until_processed
from tests.fault.exits import judge_producer
from tests.fault.expected import RawRow, read_rows
from tests.fault.feed.blows import FeedBlows
from tests.fault.feed.check import LAGS, SLACK_MS, Evidence, Happened, Lived, tally
from tests.fault.feed.prints import CHANNELS, Market
from tests.fault.feed.report import FeedReport
from tests.fault.feed.server import HostileFeed
from tests.fault.feed.settings import GROUP, KEY, FeedStormSettings
from tests.fault.feed.stood import Stood
from tests.fault.gaps import covered_by_any
from tests.fault.netns import Namespaces
from tests.fault.settings import MARK_DELAY_MS, PARTITIONS, WINDOWS, WORKER_FLAGS
from tests.fault.sources import Source
from tests.fault.supervisor import Life, Slot, Supervisor
from tests.fault.workers import Workers, worker_slot

READY_SECONDS_MAX = 60.0
#: A producer drains for 30 s at most.
STOP_SECONDS_MAX = 45.0
SAMPLE_SECONDS = 0.25
#: What a producer takes beside its buffer: Python, its libraries, messages of the largest size on their way.
MEMORY_MIB_MAX = 200

EVENT = re.compile(r" event=(\S+)")


@dataclass
class FeedScene:
    """What a feed storm is made of."""

    settings: FeedStormSettings
    bootstrap: str
    topics: Topics
    folder: Path
    feed: HostileFeed
    producers: Supervisor
    workers: Workers
    dealer: Dealer
    processes: ProcessBlows
    brokers: BrokerBlows
    peak_mib: dict[str, float] = field(default_factory=dict)  # by the log's name

    @property
    def app_id(self) -> str:
        return self.topics.prefix

    async def start(self) -> None:
        """Return once every producer is subscribed."""
        await self.producers.scale(self.settings.producers)
        await until(self._all_calm, READY_SECONDS_MAX, "every producer is subscribed")

    async def settle(self) -> None:
        """Return once every producer was up for so long that all gaps before are told, and nothing waits with them."""
        still_ms, seconds_max = MARK_DELAY_MS + 3 * self.settings.mark_every_ms, self.settings.settle_seconds_max
        await until(lambda: self._all_calm(still_ms), seconds_max, "every producer was back")
        lives = self.producers.untouched()
        await until(lambda: all(map(_is_through, lives)), seconds_max, "every producer had published what waited")

    def _all_calm(self, for_ms: int = 0) -> bool:
        """Whether each producer has a connection that has been read from for so long."""
        return all(
            any(
                link.connection.receipts and link.connection.receipts[-1].read_ms - link.connection.opened_ms >= for_ms
                for link in self.feed.calm(slot)
            )
            for slot in range(self.settings.producers)
        )

    async def watch_memory(self) -> None:
        """Look at the producers' memory again and again."""
        while True:
            for life in self.producers.untouched():
                with contextlib.suppress(OSError, StopIteration):
                    self.peak_mib[life.log.name] = _peak_mib(life.process.pid)
            await asyncio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def scene_of(
    settings: FeedStormSettings, folder: Path, kafka: Brokers, namespaces: Namespaces | None = None
) -> AsyncIterator[FeedScene]:
    """Set the scene; at the end nothing of it runs."""
    name, bootstrap = f"feed-storm-{uuid.uuid4().hex[:8]}", kafka.bootstrap
    topics, logs = Topics(name), folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    async with connected(bootstrap) as client:
        windows = [parse_duration(window) for window, _ in WINDOWS]
        await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs(windows)])
    host = namespaces.host if namespaces else "127.0.0.1"
    flags = ["--broker", bootstrap, "--topic-prefix", name, "--app-id", name, *WORKER_FLAGS]
    worker = worker_slot(0, flags, folder, member="only", web_port=free_port())
    async with HostileFeed(Market(settings.seed), settings.rate, KEY, host) as feed:
        slots = [
            producer_slot(number, settings, bootstrap, topics, feed.url(number), folder, namespaces)
            for number in range(settings.producers)
        ]
        producers = Supervisor("producer", logs, slots, name, {"COINGLASS_API_KEY": KEY})
        dealer = Dealer()
        FeedBlows(dealer, feed, KEY)
        scene = FeedScene(
            *(settings, bootstrap, topics, folder, feed, producers, Workers(logs, [worker], name), dealer),
            *(ProcessBlows(dealer, producers, namespaces), BrokerBlows(dealer, kafka)),
        )
        watching = asyncio.create_task(scene.watch_memory())
        try:
            yield scene
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await producers.kill_all()
            await scene.workers.kill_all()


def producer_slot(
    number: int,
    settings: FeedStormSettings,
    bootstrap: str,
    topics: Topics,
    url: str,
    folder: Path,
    namespaces: Namespaces | None,
) -> Slot:
    """Return a slot whose producer follows the feed at this address."""
    program = "tests.fault.feed.quick_producer" if settings.quick else "coinglass_streams"
    return Slot(
        number,
        [
            *(namespaces.command(number) if namespaces else []),
            *(sys.executable, "-m", program, "produce", "--broker", bootstrap, "--topic-prefix", topics.prefix),
            *("--url", url, *(part for channel in CHANNELS for part in ("--channel", channel))),
            *("--mark-every", f"{settings.mark_every_ms}ms", "--buffer-mib", str(settings.buffer_mib)),
            *(("--redundant-group", GROUP) if settings.redundant else ()),
            *(("--spool-dir", str(folder / "spool")) if settings.has("spool") else ()),
        ],
    )


async def judge(scene: FeedScene, report: FeedReport) -> Evidence:
    """Have a worker compute what the producers brought, and compare everything with what should be."""
    await scene.workers.scale(1)
    report.problems += await scene.producers.stop_all(STOP_SECONDS_MAX)
    await scene.workers.until_ready(READY_SECONDS_MAX)
    behind = await until_processed(scene.bootstrap, scene.topics, scene.app_id, scene.settings.settle_seconds_max)
    report.problems += [f"the worker did not process {place}" for place in behind]
    report.problems += await scene.workers.stop_all()
    report.problems += [f"process {pid} is left over" for pid in scene.producers.left_over()]
    report.blows, report.told = scene.dealer.dealt, scene.dealer.told
    for life in scene.producers.lives:
        _judge_life(scene, life, report)
    verdict = await check(scene.bootstrap, scene.topics, scene.app_id, scene.folder, once=scene.settings.redundant)
    report.problems += verdict.problems
    report.counts += verdict.counts
    return await judge_raw(scene, report)


async def judge_raw(scene: FeedScene, report: FeedReport) -> Evidence:
    """Compare the raw topics with what the feed sent."""
    rows = await rows_of_all(scene)
    evidence = Evidence(rows, scene.feed.journal, happened_to(scene), scene.settings, scene.topics)
    report.problems += evidence.problems()
    if scene.feed.wrong_keys:
        report.problems.append(f"{scene.feed.wrong_keys} handshakes without the right API key")
    report.problems += [
        f"the API key stands in {source} at {row.offset}"
        for source, of_source in rows.items()
        for row in of_source
        if _shows_key(b"".join(value for _, value in row.headers))
    ]
    stood = evidence.stood()
    report.counts += tally(scene.feed.journal, stood)
    report.covered_share = _covered_share(stood, scene.topics)
    return evidence


async def rows_of_all(scene: FeedScene) -> dict[Source, list[RawRow]]:
    """Return what stands in the raw topics and the dead letters."""
    sources = [*sources_of(scene.topics), *((scene.topics.dead_letters, number) for number in range(PARTITIONS))]
    return {source: list(read_rows(await copied(scene.bootstrap, source, scene.folder))) for source in sources}


def happened_to(scene: FeedScene) -> Happened:
    """Return what happened to producers and brokers, by the clock of the marks."""
    now = time.monotonic()
    return Happened(
        [
            Lived(life.slot, wall_ms(life.began), wall_ms(life.ended or now), "kill" in life.blows)
            for life in scene.producers.lives
        ],
        [(life.slot, wall_ms(began), wall_ms(ended)) for life, began, ended in scene.processes.freezes],
        [(wall_ms(began), wall_ms(ended)) for began, ended in scene.brokers.hits],
        SLACK_MS + LAGS * scene.feed.journal.lag_ms,
    )


def wall_ms(monotonic_s: float) -> int:
    """Return the UTC ms of a moment of the monotonic clock."""
    return int((time.time() - time.monotonic() + monotonic_s) * 1_000)


async def until(true: Callable[[], bool], seconds_max: float, what: str) -> None:
    """Wait until it is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds_max
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it never came so far that {what}")
        await asyncio.sleep(0.05)


def _judge_life(scene: FeedScene, life: Life, report: FeedReport) -> None:
    status, log = life.process.returncode, life.log.read_text(errors="replace")
    if status is None:
        report.problems.append(f"{life.log.name} never ended")
        return
    broker_was_hit = scene.brokers.was_hit(life.began, life.ended or time.monotonic())
    how, right = judge_producer(status, life.blows, log, broker_was_hit)
    report.exits[how] += 1
    if not right:
        report.problems.append(f"{life.log.name} ended with {how} after {life.blows or 'no blow'}: {log[-600:]}")
    if _shows_key(log.encode()):
        report.problems.append(f"{life.log.name} shows the API key")
    if "Traceback" in log:
        report.problems.append(f"{life.log.name} shows a traceback: {log[log.index('Traceback') :][:600]}")
    peak_mib = scene.peak_mib.get(life.log.name, 0.0)
    report.peak_mib = max(report.peak_mib, peak_mib)
    if peak_mib > scene.settings.buffer_mib + MEMORY_MIB_MAX:
        report.problems.append(f"{life.log.name} took {peak_mib:.0f} MiB with a buffer of {scene.settings.buffer_mib}")


def _is_through(life: Life) -> bool:
    """Whether, by its log, Kafka takes what a producer has, and nothing is left in its spool."""
    last = {event: place for place, event in enumerate(EVENT.findall(life.log.read_text(errors="replace")))}
    stalled = last.get("publish.stalled", -1) > last.get("publish.resumed", -1)
    spooled = max(last.get("spool.in_use", -1), last.get("spool.leftovers", -1)) > last.get("spool.drained", -1)
    return not (stalled or spooled)


def _shows_key(text: bytes) -> bool:
    return KEY.encode() in text or quote(KEY, safe="").encode() in text


def _covered_share(stood: Stood, topics: Topics) -> float:
    """Return the share of the time between first and last mark in which the liquidations were heard."""
    marks = [said.mark for of_one in stood.marks[topics.raw_liquidations, 0].values() for said in of_one]
    times = [mark.at_ms for mark in marks]
    covered = covered_by_any(marks, CHANNELS[0])
    return sum(b - a for a, b in covered) / max(1, max(times, default=0) - min(times, default=0))


def _peak_mib(pid: int) -> float:
    """Return the most memory that a process had, MiB; raises OSError for one that is gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
