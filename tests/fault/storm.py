"""A storm: workers under load and under blows, and at the end everything is compared with the oracle.

    python -m tests.fault.storm --seconds 600 --seed 7

Prints a table and one line of JSON; exit status 0 if all was exact, 1 if not.
"""

import argparse
import asyncio
import contextlib
import time
from pathlib import Path

from tests.fault.brokers import Brokers, brokers
from tests.fault.command import possible, run_and_tell
from tests.fault.netns import Namespaces
from tests.fault.plan import plan
from tests.fault.report import Report
from tests.fault.scene import Scene, judge_all, scene_of, settle
from tests.fault.settings import BLOWS, MEMBERSHIPS, SLOTS_MAX, StormSettings


async def storm(settings: StormSettings, folder: Path, given: "Brokers | None" = None) -> Report:
    """Run one storm, with its data and logs in `folder`; on a Kafka of its own if none is given."""
    report = Report.of(settings)
    settings = possible(settings, report)
    async with contextlib.AsyncExitStack() as stack:
        namespaces = stack.enter_context(Namespaces(SLOTS_MAX)) if "netcut" in settings.blows else None
        host = namespaces.host if namespaces else "127.0.0.1"
        kafka = given or await stack.enter_async_context(brokers(settings.nodes, folder / "kafka", host))
        scene = await stack.enter_async_context(scene_of(settings, folder, kafka, namespaces))
        await _blow(scene, report)
        await judge_all(scene, report)
    return report


async def _blow(scene: Scene, report: Report) -> None:
    """Let it blow, and then let it settle."""
    settings = scene.settings
    await scene.start_workers()
    writing = asyncio.create_task(scene.writer.run())
    began = time.monotonic()
    await scene.striker.deal_all(plan(settings.seed, settings.seconds, settings.blows), settings.seconds)
    gaps = scene.monitor.gaps(began, time.monotonic())
    report.longest_gap_seconds = round(gaps[0].seconds, 2) if gaps else settings.seconds
    report.gaps = [
        f"{gap.seconds:.1f} s from {gap.at_seconds:.1f} s of {'/'.join(map(str, gap.source))}" for gap in gaps
    ]
    await settle(scene, writing, report)
    await _resumed(scene, report)


async def _resumed(scene: Scene, report: Report) -> None:
    for kill in scene.striker.kills:
        seconds = scene.monitor.resumed_after(kill.at, kill.owned)
        if seconds is None:
            report.not_resumed += 1
        else:
            report.resumes_seconds.append(round(seconds, 2))


def main() -> None:
    """Run a storm from the command line."""
    settings = _arguments()
    run_and_tell("storm", settings.keep, lambda folder: storm(settings, folder))


def _arguments() -> StormSettings:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.storm", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it blows")
    parser.add_argument("--seed", type=int, default=7, help="decides frames and blows")
    parser.add_argument("--workers", type=int, default=2, help=f"1 to {SLOTS_MAX}")
    parser.add_argument("--membership", choices=MEMBERSHIPS, default="static")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="brokers")
    parser.add_argument("--rate", type=float, default=2_000.0, help="frames a second")
    parser.add_argument("--blows", default=",".join(BLOWS), help="which, with commas between")
    parser.add_argument("--no-fencing", action="store_true", help="the control: must fail")
    parser.add_argument("--keep", type=Path, help="where to put data and logs, and leave them")
    given = parser.parse_args()
    try:
        return StormSettings(
            seconds=given.seconds,
            seed=given.seed,
            workers=given.workers,
            membership=given.membership,
            nodes=given.nodes,
            rate=given.rate,
            blows=tuple(filter(None, given.blows.split(","))),
            fencing=not given.no_fencing,
            keep=given.keep,
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
