"""The blows that workers, and any processes and brokers, can take."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fault.brokers import Brokers
from tests.fault.netns import Namespaces
from tests.fault.plan import Blow
from tests.fault.settings import SLOTS_MAX
from tests.fault.supervisor import Life, Supervisor
from tests.fault.workers import Workers, owned

#: Deals a blow and returns when it is over: whether it found a victim.
Deal = Callable[[Blow], Coroutine[None, None, bool]]
Tell = Callable[[str], None]

BROKER_RECOVERS_SECONDS = 10.0


class Dealer:
    """Deals blows; `dealt` counts them by kind, and those that found no victim as `missed`."""

    def __init__(self) -> None:
        self.dealt: Counter[str] = Counter()
        self.told: list[str] = []
        self.began = time.monotonic()
        self._deals: dict[str, Deal] = {}

    def learn(self, deals: Mapping[str, Deal]) -> None:
        """Know how to deal these kinds."""
        self._deals.update(deals)

    async def deal(self, blow: Blow) -> None:
        """Deal a blow, and return when it is over."""
        self.tell(f"{blow.kind} {blow.seconds:.1f} s")
        hit = await self._deals[blow.kind](blow)
        self.tell(f"{blow.kind} over" if hit else f"{blow.kind} found no victim")
        self.dealt[blow.kind if hit else "missed"] += 1

    async def deal_all(self, blows: list[Blow], seconds: float) -> None:
        """Deal each when it is due; return when so many seconds have passed and all is over."""
        self.began = time.monotonic()
        dealing = []
        for blow in blows:
            await asyncio.sleep(self.began + blow.at_seconds - time.monotonic())
            dealing.append(asyncio.create_task(self.deal(blow)))
        await asyncio.sleep(self.began + seconds - time.monotonic())
        await asyncio.gather(*dealing)

    def tell(self, what: str) -> None:
        """Write down what happens."""
        self.told.append(f"{datetime.now(UTC):%H:%M:%S.%f} at {time.monotonic() - self.began:6.1f} s: {what}")


class ProcessBlows:
    """Kill, stop, freeze a process, or cut it off. `on_kill` is told of a victim just before it is killed."""

    def __init__(
        self,
        dealer: Dealer,
        supervisor: Supervisor,
        namespaces: Namespaces | None = None,
        on_kill: Callable[[Life], None] = lambda life: None,
    ) -> None:
        self.freezes: list[tuple[Life, float, float]] = []  # who was frozen or cut off, from, to
        self._dealer, self._supervisor, self._namespaces, self._on_kill = dealer, supervisor, namespaces, on_kill
        dealer.learn({"kill": self._kill, "freeze": self._freeze, "stop": self._stop, "netcut": self._cut})

    def kill_life(self, life: Life) -> None:
        """Kill this one."""
        self._on_kill(life)
        life.hit("kill", signal.SIGKILL)

    def _victim(self, blow: Blow) -> Life | None:
        lives = self._supervisor.untouched()
        if not lives:
            return None
        life = lives[int(blow.chance * len(lives))]
        self._dealer.tell(f"  hits {life.log.name}")
        return life

    async def _kill(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None:
            return False
        self.kill_life(life)
        if blow.early_after_seconds is not None:
            await life.process.wait()
            await asyncio.sleep(self._supervisor.pause_seconds + blow.early_after_seconds)
            again = [other for other in self._supervisor.untouched() if other.slot == life.slot]
            for other in again:
                self.kill_life(other)
                self._dealer.dealt["kill early"] += 1
        return True

    async def _freeze(self, blow: Blow) -> bool:
        life = self._victim(blow)
        if life is None:
            return False
        began = time.monotonic()
        life.frozen = True
        life.hit("freeze", signal.SIGSTOP)
        try:
            await asyncio.sleep(blow.seconds)
        finally:
            life.hit("thaw", signal.SIGCONT)
            life.frozen = False
            self.freezes.append((life, began, time.monotonic()))
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
        began = time.monotonic()
        life.cut = True
        life.blows.append("netcut")
        await asyncio.to_thread(self._namespaces.cut, life.slot)
        try:
            await asyncio.sleep(blow.seconds)
        finally:
            await asyncio.to_thread(self._namespaces.mend, life.slot)
            life.cut = False
            self.freezes.append((life, began, time.monotonic()))
        return True


class BrokerBlows:
    """Kill, freeze, restart a broker, or leave it stopped for a while."""

    def __init__(self, dealer: Dealer, brokers: Brokers) -> None:
        self.hits: list[tuple[float, float]] = []  # from, to
        self._brokers = brokers
        dealer.learn(
            {
                "broker-kill": lambda blow: self._hit(brokers.kill(blow.chance)),
                "broker-freeze": lambda blow: self._hit(brokers.freeze(blow.chance, blow.seconds)),
                "broker-restart": lambda blow: self._hit(brokers.restart(blow.chance)),
                "broker-outage": lambda blow: self._hit(brokers.restart(blow.chance, blow.seconds)),
            }
        )

    def was_hit(self, began: float, ended: float) -> bool:
        """Whether a broker was down, or just up again, at some time in between."""
        return any(start < ended and began < end + BROKER_RECOVERS_SECONDS for start, end in self.hits)

    async def _hit(self, hit: Coroutine[None, None, None]) -> bool:
        began = time.monotonic()
        try:
            await hit
        finally:
            self.hits.append((began, time.monotonic()))
        return True


@dataclass(frozen=True)
class Kill:
    """A worker that was killed while it owned partitions; `at` is of the monotonic clock."""

    at: float
    owned: list[tuple[str, int]]


class Striker(Dealer):
    """Deals the blows of a storm over workers."""

    def __init__(self, workers: Workers, brokers: Brokers, count: int, namespaces: Namespaces | None) -> None:
        super().__init__()
        self.kills: list[Kill] = []
        self.processes = ProcessBlows(self, workers, namespaces, self._note_kill)
        self.brokers = BrokerBlows(self, brokers)
        self._workers, self._count = workers, count
        self.learn({"double-kill": self._double_kill, "rescale": self._rescale})

    def _note_kill(self, life: Life) -> None:
        had = owned(life)
        if had:
            self.kills.append(Kill(time.monotonic(), had))
        self.tell(f"  kills {life.log.name}, which owned {len(had)}")

    async def _double_kill(self, blow: Blow) -> bool:
        lives = self._workers.untouched()
        if len(lives) < 2:
            return False
        first = int(blow.chance * len(lives))
        for life in (lives[first], lives[first - 1]):
            self.processes.kill_life(life)
        return True

    async def _rescale(self, blow: Blow) -> bool:
        for count in (1, SLOTS_MAX, 1):
            await self._workers.scale(count)
            await asyncio.sleep(blow.seconds)
        await self._workers.scale(self._count)
        return True
