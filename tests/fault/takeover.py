"""The zombie, on purpose: a worker is frozen in the middle of a hand-over, another takes its partitions over and goes
on, and then it is thawed. With fencing it must do no harm; without, the check must see what it did.
"""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from tests.fault.brokers import Brokers
from tests.fault.report import Report
from tests.fault.scene import Scene, judge_all, scene_of, settle
from tests.fault.settings import PARTITIONS, StormSettings
from tests.fault.supervisor import Life
from tests.fault.workers import owned

TAKEOVER_SECONDS_MAX = 40.0
BEFORE_SECONDS = 2.0  # under load, before the freeze
AFTER_SECONDS = 3.0  # after the thaw: time to do harm in


async def takeover(settings: StormSettings, folder: Path, kafka: Brokers) -> Report:
    """Freeze the first of two workers, thaw it when the second has taken over, and judge."""
    report = Report.of(settings)
    trigger = folder / "freeze-now"
    fencing = "fenced" if settings.fencing else "unfenced"

    def program_of(slot: int) -> list[str]:
        # Only the first worker looks for the file that the storm makes.
        return ["tests.fault.freezing_worker", str(trigger if slot == 0 else folder / "never"), fencing]

    async with scene_of(settings, folder, kafka, program_of=program_of) as scene:
        await scene.start_workers()
        writing = asyncio.create_task(scene.writer.run())
        await asyncio.sleep(BEFORE_SECONDS)
        frozen, other = scene.workers.untouched()[:2]
        frozen.frozen = True
        trigger.touch()
        await _until(lambda: _is_stopped(frozen), "the worker froze")
        await _until(lambda: len(owned(other)) == 2 * PARTITIONS, "the other took over")
        await _flow_again(scene)
        frozen.hit("thaw", signal.SIGCONT)
        frozen.frozen = False
        scene.striker.dealt["freeze in a hand-over"] += 1
        await asyncio.sleep(AFTER_SECONDS)
        await settle(scene, writing, report)
        await judge_all(scene, report)
    return report


async def _flow_again(scene: Scene) -> None:
    """Wait for results that come after the takeover."""
    seen = scene.monitor.seen
    await _until(lambda: scene.monitor.seen > seen + 100, "results flowed again")


async def _until(true: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + TAKEOVER_SECONDS_MAX
    while not true():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"it never came so far that {what}")
        await asyncio.sleep(0.1)


def _is_stopped(life: Life) -> bool:
    """Whether the kernel says that the process is stopped."""
    stat = Path(f"/proc/{life.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"
