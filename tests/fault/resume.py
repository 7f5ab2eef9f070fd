"""How long results are away after a `kill -9`, and how long everyone else's.

    python -m tests.fault.resume --times 5

A static member that a supervisor restarts at once, and a dynamic one whose partitions another takes over.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.brokers import Brokers, OneBroker
from tests.fault.check import sources_of
from tests.fault.report import spread
from tests.fault.scene import Scene, scene_of
from tests.fault.settings import StormSettings
from tests.fault.workers import owned

CALM_SECONDS = 4.0  # of load before each kill
RESUME_SECONDS_MAX = 40.0
TARGETS_SECONDS = {"static": 3.0, "dynamic": 8.0}
#: A static member is restarted at once; a dynamic one not before another has surely taken over.
PAUSES_SECONDS = {"static": 0.0, "dynamic": 12.0}


@dataclass
class Times:
    """What was measured with one kind of membership, in seconds."""

    resumed: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)  # longest pause of the other worker's partitions meanwhile


async def measure(membership: str, times: int, rate: float, folder: Path, kafka: Brokers) -> Times:
    """Kill a worker so many times."""
    settings = StormSettings(seconds=1.0, seed=1, membership=membership, rate=rate, blows=())
    measured = Times()
    async with scene_of(settings, folder, kafka) as scene:
        scene.workers.pause_seconds = PAUSES_SECONDS[membership]
        await scene.start_workers()
        writing = asyncio.create_task(scene.writer.run())
        for number in range(times):
            await asyncio.sleep(CALM_SECONDS)
            await _kill_one(scene, number, measured)
            await scene.workers.until_ready(60.0)
        await scene.writer.stop()
        await writing
        await scene.workers.stop_all()
    return measured


async def _kill_one(scene: Scene, number: int, measured: Times) -> None:
    lives = scene.workers.untouched()
    life = lives[number % len(lives)]
    own = owned(life)
    others = [source for source in sources_of(scene.topics) if source not in own]
    killed_at = time.monotonic()
    life.hit("kill", signal.SIGKILL)
    while (seconds := scene.monitor.resumed_after(killed_at, own)) is None:
        if time.monotonic() > killed_at + RESUME_SECONDS_MAX:
            raise TimeoutError(f"no results for {RESUME_SECONDS_MAX:.0f} s of {own}")
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)  # the others may be interrupted once more, when the killed one comes back
    measured.resumed.append(seconds)
    measured.others.append(scene.monitor.longest_gap(killed_at, time.monotonic(), others))


async def _measure_all(times: int, rate: float, folder: Path) -> dict[str, Times]:
    async with OneBroker(folder / "kafka") as kafka:
        return {kind: await measure(kind, times, rate, folder / kind, kafka) for kind in TARGETS_SECONDS}


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.resume", description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="kills of each kind")
    parser.add_argument("--rate", type=float, default=2_000.0, help="frames a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        logging.basicConfig(filename=Path(folder) / "resume.log")
        measured = asyncio.run(_measure_all(given.times, given.rate, Path(folder)))
    for kind, times in measured.items():
        target = TARGETS_SECONDS[kind]
        print(f"  {kind:<8} resumed: {spread(times.resumed)}; at most {target:.0f} s wanted")
        print(f"  {'':<8} the others paused: {spread(times.others)}")
    print(json.dumps({kind: vars(times) for kind, times in measured.items()}))
    sys.exit(any(max(times.resumed) > TARGETS_SECONDS[kind] for kind, times in measured.items()))


if __name__ == "__main__":
    main()
