"""Everything that takes part in a storm: how it is set up, how it comes to rest, and how it is judged."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.admin import connected, ensure_topics
from sandbox.ports import free_port
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.fault.blows import Striker
from tests.fault.brokers import Brokers
from tests.fault.check import check, pages_of, until_processed, web_problems
from tests.fault.exits import judge
from tests.fault.frames import Feed
from tests.fault.monitor import Monitor
from tests.fault.netns import Namespaces
from tests.fault.report import Report
from tests.fault.settings import SLOTS_MAX, WINDOWS, WORKER_FLAGS, StormSettings
from tests.fault.supervisor import Life
from tests.fault.workers import Workers, worker_slot
from tests.fault.writer import Writer

READY_SECONDS_MAX = 60.0

FENCED, UNFENCED = ("coinglass_streams",), ("tests.fault.unfenced_worker",)


@dataclass
class Scene:
    """What a storm is made of."""

    settings: StormSettings
    bootstrap: str
    topics: Topics
    app_id: str
    folder: Path
    workers: Workers
    writer: Writer
    monitor: Monitor
    striker: Striker

    async def start_workers(self) -> None:
        """Return once all are ready."""
        await self.workers.scale(self.settings.workers)
        await self.workers.until_ready(READY_SECONDS_MAX)


@asynccontextmanager
async def scene_of(
    settings: StormSettings,
    folder: Path,
    kafka: Brokers,
    namespaces: Namespaces | None = None,
    program_of: Callable[[int], Sequence[str]] | None = None,
) -> AsyncIterator[Scene]:
    """Set the scene; at the end nothing of it runs. `program_of` says what the worker of a slot runs."""
    name = f"storm-{uuid.uuid4().hex[:8]}"
    topics, bootstrap = Topics(name), kafka.bootstrap
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    async with connected(bootstrap) as client:
        windows = [parse_duration(window) for window, _ in WINDOWS]
        await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs(windows)])
    flags = ["--broker", bootstrap, "--topic-prefix", name, "--app-id", name, *WORKER_FLAGS]
    usual = FENCED if settings.fencing else UNFENCED
    slots = [
        worker_slot(
            number,
            flags,
            folder,
            member=f"member-{number}" if settings.is_static(number) else None,
            web_port=free_port(),
            program=program_of(number) if program_of else usual,
            namespaces=namespaces,
        )
        for number in range(SLOTS_MAX)
    ]
    workers = Workers(logs, slots, name)
    writer, monitor = Writer(bootstrap, Feed(settings.seed, topics), settings.rate), Monitor(bootstrap, topics)
    striker = Striker(workers, kafka, settings.workers, namespaces)
    watching = asyncio.create_task(monitor.run())
    try:
        yield Scene(settings, bootstrap, topics, name, folder, workers, writer, monitor, striker)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await workers.kill_all()


async def settle(scene: Scene, writing: "asyncio.Task[None]", report: Report) -> None:
    """Write no more but what closes the windows, and wait until all is processed."""
    await scene.writer.stop()
    await writing
    began, seconds_max = time.monotonic(), scene.settings.settle_seconds_max
    await scene.writer.write_closing()
    behind = await until_processed(scene.bootstrap, scene.topics, scene.app_id, seconds_max)
    report.settle_seconds = time.monotonic() - began
    report.problems += [f"not processed in {seconds_max:.0f} s: {place}" for place in behind]


async def judge_all(scene: Scene, report: Report) -> None:
    """Compare everything that can be seen of the storm with what should be."""
    workers, pages = scene.workers, None
    try:
        await workers.until_ready(READY_SECONDS_MAX)
        pages = await pages_of([web for _, web in workers.running()])
    except (TimeoutError, OSError) as error:
        report.problems.append(f"the workers' pages cannot be read: {error!r}")
    report.problems += await workers.stop_all()
    report.problems += [f"process {pid} is left over" for pid in workers.left_over()]
    report.frames, report.lives = scene.writer.frames, len(workers.lives)
    report.restarts = report.lives - len({life.slot for life in workers.lives})
    report.blows, report.told = scene.striker.dealt, scene.striker.told
    for life in workers.lives:
        _judge_life(scene, life, report)
    verdict = await check(scene.bootstrap, scene.topics, scene.app_id, scene.folder)
    report.counts = verdict.counts
    report.problems += verdict.problems
    if pages is not None:
        report.problems += web_problems(verdict.rows, pages)


def _judge_life(scene: Scene, life: Life, report: Report) -> None:
    status, log = life.process.returncode, life.log.read_text(errors="replace")
    if status is None:
        report.problems.append(f"{life.log.name} never ended")
        return
    broker_was_hit = scene.striker.brokers.was_hit(life.began, life.ended or time.monotonic())
    how, right = judge(status, life.blows, log, broker_was_hit)
    report.exits[how] += 1
    if not right:
        report.problems.append(f"{life.log.name} ended with {how} after {life.blows or 'no blow'}: {log[-600:]}")
