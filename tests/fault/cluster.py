"""Three brokers, of which a storm hits one at a time."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.kafka_cluster import ClusterSettings, EmbeddedCluster
from sandbox.ports import free_port

DEAD_SECONDS = 5.0  # long enough for elections
NODES = 3


class ThreeBrokers:
    """A cluster that two of three nodes keep going."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        port = free_port(host, in_a_row=NODES)
        self._cluster = EmbeddedCluster(ClusterSettings(port=port, data_dir=folder, nodes=NODES, host=host))

    @property
    def bootstrap(self) -> str:
        return self._cluster.bootstrap

    async def __aenter__(self) -> Self:
        await self._cluster.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cluster.stop()

    async def kill(self, chance: float) -> None:
        node = _node(chance)
        await self._cluster.kill(node)
        await asyncio.sleep(DEAD_SECONDS)
        await self._cluster.restart(node)

    async def freeze(self, chance: float, seconds: float) -> None:
        node = _node(chance)
        self._cluster.freeze(node)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._cluster.thaw(node)

    async def restart(self, chance: float, down_seconds: float = 0.0) -> None:
        node = _node(chance)
        if down_seconds:
            await self._cluster.kill(node)
            await asyncio.sleep(down_seconds)
        await self._cluster.restart(node)


def _node(chance: float) -> int:
    return 1 + int(chance * NODES)
