"""The finals as the demo's reader of the result topics finds them; a reader as any other, committed results only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import decode
from schemas.durations import Duration
from schemas.topics import Topics

Kind = Literal["liquidations", "imbalance"]


@dataclass(frozen=True, slots=True)
class Final:
    """One final: `window` as it was written, `values` as the schema has them, timestamps as datetimes in UTC."""

    kind: Kind
    window: str
    values: dict[str, Any]

    @property
    def subject(self) -> str:
        """The asset, or the market with its minVol."""
        v = self.values
        return v["asset"] if self.kind == "liquidations" else f"{v['exchange']} {v['symbol']} ≥{v['min_vol_usd']:,.0f}"

    @property
    def start(self) -> datetime:
        """First moment of the window."""
        return _utc(self.values["window_start"])

    @property
    def end(self) -> datetime:
        """First moment after it."""
        return _utc(self.values["window_end"])

    @property
    def total_usd(self) -> float:
        """All that was counted, USD."""
        v = self.values
        return float(v["total_usd"] if self.kind == "liquidations" else v["buy_usd"] + v["sell_usd"])


def _utc(moment: Any) -> datetime:
    assert isinstance(moment, datetime)
    return moment.astimezone(UTC)


class FinalsReader:
    """Reads what is published from its start on."""

    def __init__(self, consumer: AIOKafkaConsumer, kinds: dict[str, tuple[Kind, str]]) -> None:
        self._consumer = consumer
        self._kinds = kinds

    async def next(self) -> list[Final]:
        """Wait a second at most for finals; returns them in the order of their partitions."""
        batches = await self._consumer.getmany(timeout_ms=1_000)
        finals = []
        for partition, messages in batches.items():
            kind, window = self._kinds[partition.topic]
            name = "liquidation_volume" if kind == "liquidations" else "trade_imbalance"
            finals += [Final(kind, window, decode(name, message.value)) for message in messages]
        return finals


@asynccontextmanager
async def reading_finals(
    bootstrap: str, topics: Topics, windows: Sequence[Duration], partitions: int
) -> AsyncIterator[FinalsReader]:
    """Yield a reader of what is published from now on; the result topics must be there."""
    kinds: dict[str, tuple[Kind, str]] = {}
    for window in windows:
        kinds[topics.liquidation_volume(window.text)] = ("liquidations", window.text)
        kinds[topics.trade_imbalance(window.text)] = ("imbalance", window.text)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for topic in kinds for number in range(partitions)])
        await consumer.seek_to_end()
        yield FinalsReader(consumer, kinds)
    finally:
        await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Stop the consumer, without taking its troubles for ours.

    With its broker gone, aiokafka's stop() raises the CancelledError of a task of its own. Let through, it would take
    the place of the error that brought us here, and look as if somebody had asked us to stop.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait([stopping])
    if not stopping.cancelled():
        stopping.result()
