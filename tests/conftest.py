"""A real Kafka and a real schema registry, each started once, by the first test that asks for it.

Neither is ever skipped: where one cannot start, the tests that need it fail.
"""

from collections.abc import AsyncIterator

import pytest

from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from sandbox.registry import RegistrySettings, SchemaRegistry


@pytest.fixture(scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The bootstrap address of a Kafka that all tests share: name your own topics and groups."""
    settings = KafkaSettings(port=free_port(), data_dir=tmp_path_factory.mktemp("kafka"))
    async with EmbeddedKafka(settings) as kafka:
        yield kafka.bootstrap


@pytest.fixture(scope="session")
async def registry_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a schema registry that all tests share: name your own subjects."""
    settings = RegistrySettings(port=free_port(), folder=tmp_path_factory.mktemp("registry"))
    async with SchemaRegistry(settings) as registry:
        yield registry.url
