"""The blows themselves."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fault.brokers import Brokers
from tests.fault.netns import Namespaces
from tests.fault.plan import Blow
from tests.fault.settings import SLOTS_MAX
from tests.fault.workers import Life, Workers


@dataclass(frozen=True)
class Kill:
    """A worker that was killed while it owned partitions; `at` is of the monotonic clock."""

    at: float
    owned: list[tuple[str, int]]


class Striker:
    """Deals blows; `dealt` counts them by kind, and those that found no victim as `missed`."""

    def __init__(self, workers: Workers, brokers: Brokers, count: int, namespaces: Namespaces | None) -> None:
        self.dealt: Counter[str] = Counter()
        self.kills: list[Kill] = []
        self.told: list[str] = []
        self.began = time.monotonic()
        self.broker_hits: list[tuple[float, float]] = []  # from, to
        self._workers, self._brokers, self._count, self._namespaces = workers, brokers, count, namespaces
        self._deal: dict[str, Callable[[Blow], Coroutine[None, None, bool]]] = {
            "kill": self._kill,
            "double-kill": self._double_kill,
            "freeze": self._freeze,
            "stop": self._stop,
            "netcut": self._cut,
            "rescale": self._rescale,
            "broker-kill": self._kill_broker,
            "broker-freeze": self._freeze_broker,
            "broker-restart": self._restart_broker,
        }

    async def deal(self, blow: Blow) -> None:
        """Deal a blow, and return when it is over."""
        self._tell(f"{blow.kind} {blow.seconds:.1f} s")
        hit = await self._deal[blow.kind](blow)
        self._tell(f"{blow.kind} over" if hit else f"{blow.kind} found no victim")
        self.dealt[blow.kind if hit else "missed"] += 1

    def broker_was_hit(self, began: float, ended: float) -> bool:
        """Whether a broker was down, or just up again, at some time in between."""
        return any(start < ended and began < end + 10.0 for start, end in self.broker_hits)

    def _tell(self, what: str) -> None:
        self.told.append(f"{datetime.now(UTC):%H:%M:%S.%f} at {time.monotonic() - self.began:6.1f} s: {what}")

    def _victim(self, blow: Blow) -> Life | None:
        lives = self._workers.untouched()
        if not lives:
            return None
        life = lives[int(blow.chance * len(lives))]
        self._tell(f"  hits {life.log.name}")
        return life

    def _kill_life(self, life: Life) -> None:
        owned = life.owned()
        if owned:
            self.kills.append(Kill(time.monotonic(), owned))
        self._tell(f"  kills {life.log.name}, which owned {len(owned)}")
        life.hit("kill", signal.SIGKILL)

    async def _kill(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None:
            return False
        self._kill_life(life)
        if blow.early_after_seconds is not None:
            await life.process.wait()
            await asyncio.sleep(self._workers.pause_seconds + blow.early_after_seconds)
            again = [other for other in self._workers.untouched() if other.slot == life.slot]
            for other in again:
                self._kill_life(other)
                self.dealt["kill early"] += 1
        return True

    async def _double_kill(self, blow: Blow) -> bool:
        lives = self._workers.untouched()
        if len(lives) < 2:
            return False
        first = int(blow.chance * len(lives))
        for life in (lives[first], lives[first - 1]):
            self._kill_life(life)
        return True

    async def _freeze(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None:
            return False
        life.frozen = True
        life.hit("freeze", signal.SIGSTOP)
        try:
            await asyncio.sleep(blow.seconds)
        finally:
            life.hit("thaw", signal.SIGCONT)
            life.frozen = False
        return True

    async def _stop(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None:
            return False
        life.hit("stop", signal.SIGTERM)
        return True

    async def _cut(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None or self._namespaces is None:
            return False
        life.cut = True
        life.blows.append("netcut")
        await asyncio.to_thread(self._namespaces.cut, life.slot)
        try:
            await asyncio.sleep(blow.seconds)
        finally:
            await asyncio.to_thread(self._namespaces.mend, life.slot)
            life.cut = False
        return True

    async def _rescale(self, blow: Blow) -> bool:
        for count in (1, SLOTS_MAX, 1):
            await self._workers.scale(count)
            await asyncio.sleep(blow.seconds)
        await self._workers.scale(self._count)
        return True

    async def _kill_broker(self, blow: Blow) -> bool:
        return await self._hit_broker(self._brokers.kill(blow.chance))

    async def _freeze_broker(self, blow: Blow) -> bool:
        return await self._hit_broker(self._brokers.freeze(blow.chance, blow.seconds))

    async def _restart_broker(self, blow: Blow) -> bool:
        return await self._hit_broker(self._brokers.restart(blow.chance))

    async def _hit_broker(self, hit: Coroutine[None, None, None]) -> bool:
        began = time.monotonic()
        try:
            await hit
        finally:
            self.broker_hits.append((began, time.monotonic()))
        return True
