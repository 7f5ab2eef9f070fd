"""A feed storm: producers between a hostile feed and a broker that comes and goes; nothing may be lost unsaid.

    python -m tests.fault.feed_storm --seconds 120 --seed 7

Prints a table and one line of JSON; exit status 0 if all was as it should be, 1 if not.
"""

import argparse
import contextlib
from pathlib import Path

from tests.fault.brokers import Brokers, brokers
from tests.fault.command import possible, run_and_tell
from tests.fault.feed.check import Evidence
from tests.fault.feed.report import FeedReport
from tests.fault.feed.scene import FeedScene, judge, scene_of
from tests.fault.feed.settings import BLOWS, LACKS, PRODUCERS_MAX, FeedStormSettings
from tests.fault.netns import Namespaces
from tests.fault.plan import plan


async def feed_storm(
    settings: FeedStormSettings, folder: Path, given: Brokers | None = None
) -> tuple[FeedReport, Evidence]:
    """Run one storm, with its data and logs in `folder`; on a Kafka of its own if none is given."""
    report = FeedReport.of(settings)
    settings = possible(settings, report)
    async with contextlib.AsyncExitStack() as stack:
        namespaces = stack.enter_context(Namespaces(settings.producers)) if "netcut" in settings.blows else None
        host = namespaces.host if namespaces else "127.0.0.1"
        kafka = given or await stack.enter_async_context(brokers(1, folder / "kafka", host))
        scene = await stack.enter_async_context(scene_of(settings, folder, kafka, namespaces))
        await _blow(scene, report)
        evidence = await judge(scene, report)
    return report, evidence


async def _blow(scene: FeedScene, report: FeedReport) -> None:
    """Let it blow, and then let it settle."""
    settings = scene.settings
    await scene.start()
    await scene.dealer.deal_all(plan(settings.seed, settings.seconds, settings.blows, settings.pace), settings.seconds)
    try:
        await scene.settle()
    except TimeoutError as error:
        report.problems.append(str(error))


def main() -> None:
    """Run a storm from the command line."""
    settings = _arguments()

    async def run(folder: Path) -> FeedReport:
        report, _ = await feed_storm(settings, folder)
        return report

    run_and_tell("feed-storm", settings.keep, run)


def _arguments() -> FeedStormSettings:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.feed_storm", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it blows")
    parser.add_argument("--seed", type=int, default=7, help="decides frames and blows")
    parser.add_argument("--producers", type=int, default=1, help=f"1 to {PRODUCERS_MAX}")
    parser.add_argument("--redundant", action="store_true", help="the producers are a redundant group")
    parser.add_argument("--rate", type=float, default=300.0, help="ticks a second, each of a frame or a few")
    parser.add_argument("--blows", default=",".join(BLOWS), help="which, with commas between")
    parser.add_argument("--quick", action="store_true", help="producers that wait less for pongs and between attempts")
    parser.add_argument("--pace", type=float, default=1.0, help="how much quicker than usual blow follows blow")
    parser.add_argument("--buffer-mib", type=int, default=8, help="the producers' buffer")
    parser.add_argument("--lacks", default="", help=f"what producers lack, with commas between: {', '.join(LACKS)}")
    parser.add_argument("--keep", type=Path, help="where to put data and logs, and leave them")
    given = parser.parse_args()
    try:
        return FeedStormSettings(
            seconds=given.seconds,
            seed=given.seed,
            producers=given.producers,
            redundant=given.redundant,
            rate=given.rate,
            blows=tuple(filter(None, given.blows.split(","))),
            quick=given.quick,
            pace=given.pace,
            buffer_mib=given.buffer_mib,
            lacks=tuple(filter(None, given.lacks.split(","))),
            keep=given.keep,
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
