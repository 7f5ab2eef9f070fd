"""The Kafka of a storm, and the blows that it can take."""

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port

DOWN_SECONDS = 1.0  # how long a killed broker stays dead


class Brokers(Protocol):
    """What a storm needs of its Kafka; `chance` in [0, 1) says which of several brokers is hit."""

    @property
    def bootstrap(self) -> str:
        """The address for clients."""

    async def kill(self, chance: float) -> None:
        """Kill a broker and start it again."""

    async def freeze(self, chance: float, seconds: float) -> None:
        """Stop a broker in its tracks for so long."""

    async def restart(self, chance: float, down_seconds: float = 0.0) -> None:
        """Stop a broker cleanly and start it again, `down_seconds` later."""


class OneBroker:
    """A Kafka of one node."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._kafka = EmbeddedKafka(KafkaSettings(port=free_port(host), data_dir=folder, host=host))

    @property
    def bootstrap(self) -> str:
        return self._kafka.bootstrap

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kafka.stop()

    async def kill(self, chance: float) -> None:
        self._signal(signal.SIGKILL)
        await asyncio.sleep(DOWN_SECONDS)
        await self._kafka.stop()
        await self._kafka.start()

    async def freeze(self, chance: float, seconds: float) -> None:
        self._signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._signal(signal.SIGCONT)

    async def restart(self, chance: float, down_seconds: float = 0.0) -> None:
        await self._kafka.stop()
        await asyncio.sleep(down_seconds)
        await self._kafka.start()

    def _signal(self, how: signal.Signals) -> None:
        assert self._kafka.pid is not None
        os.kill(self._kafka.pid, how)


class GivenBroker:
    """A Kafka that others use too, and that is spared."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    async def kill(self, chance: float) -> None:
        raise AssertionError("this broker is not ours")

    async def freeze(self, chance: float, seconds: float) -> None:
        raise AssertionError("this broker is not ours")

    async def restart(self, chance: float, down_seconds: float = 0.0) -> None:
        raise AssertionError("this broker is not ours")


def brokers(nodes: int, folder: Path, host: str = "127.0.0.1") -> "AbstractAsyncContextManager[Brokers]":
    """Return a Kafka of one node, or of three."""
    if nodes == 1:
        return OneBroker(folder, host)
    from tests.fault.cluster import ThreeBrokers

    return ThreeBrokers(folder, host)
