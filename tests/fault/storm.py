"""A storm: workers under load and under blows, and at the end everything is compared with the oracle.

    python -m tests.fault.storm --seconds 600 --seed 7

Prints a table and one line of JSON; exit status 0 if all was exact, 1 if not.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.fault import netns
from tests.fault.brokers import Brokers, brokers
from tests.fault.netns import Namespaces
from tests.fault.plan import plan
from tests.fault.report import Report
from tests.fault.scene import Scene, judge_all, scene_of, settle
from tests.fault.settings import BLOWS, MEMBERSHIPS, SLOTS_MAX, StormSettings


async def storm(settings: StormSettings, folder: Path, given: "Brokers | None" = None) -> Report:
    """Run one storm, with its data and logs in `folder`; on a Kafka of its own if none is given."""
    report = Report.of(settings)
    settings = _possible(settings, report)
    async with contextlib.AsyncExitStack() as stack:
        namespaces = stack.enter_context(Namespaces(SLOTS_MAX)) if "netcut" in settings.blows else None
        host = namespaces.host if namespaces else "127.0.0.1"
        kafka = given or await stack.enter_async_context(brokers(settings.nodes, folder / "kafka", host))
        scene = await stack.enter_async_context(scene_of(settings, folder, kafka, namespaces))
        await _blow(scene, report)
        await judge_all(scene, report)
    return report


def _possible(settings: StormSettings, report: Report) -> StormSettings:
    """Leave out the blows that cannot be dealt here, and say so."""
    why = netns.why_impossible() if "netcut" in settings.blows else None
    if why is None:
        return settings
    report.left_out.append(f"netcut: {why}")
    return dataclasses.replace(settings, blows=tuple(blow for blow in settings.blows if blow != "netcut"))


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
            report.resumes_seconds.append(seconds)


def main() -> None:
    """Run a storm from the command line."""
    settings = _arguments()
    folder = settings.keep or Path(tempfile.mkdtemp(prefix="storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    # What our own clients say of brokers that are down is no news here.
    logging.basicConfig(filename=folder / "storm.log", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        report = asyncio.run(storm(settings, folder))
    except BaseException:
        print(f"the storm itself failed; data and logs are in {folder}", file=sys.stderr)
        raise
    (folder / "blows.log").write_text(report.story())
    print(report.table())
    if report.passed and settings.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  data and logs  {folder}")
    print(report.line())
    sys.exit(0 if report.passed else 1)


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
