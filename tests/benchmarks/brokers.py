"""The broker that a measurement runs on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port


@asynccontextmanager
async def given_or_embedded(broker: str | None, folder: Path) -> AsyncIterator[str]:
    """Yield the broker that was given, or an embedded Kafka with its data in `folder`."""
    if broker:
        yield broker
        return
    async with EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=folder)) as kafka:
        yield kafka.bootstrap
