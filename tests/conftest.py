"""A real Kafka and a real schema registry, each started once, by the first test that asks for it.

Neither is ever skipped: where one cannot start, the tests that need it fail.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import hypothesis
import pytest

from sandbox import ports
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from sandbox.registry import RegistrySettings, SchemaRegistry
from tests.fault.proxy import Proxy

# How long an example takes is the machine's affair, which does other things beside.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


def pytest_configure() -> None:
    """Give each process of a parallel run free ports of its own: another could take one before it is listened on."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(ports.FREE_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports.FREE_PORTS = ports.FREE_PORTS[number * share : (number + 1) * share]


@pytest.fixture(scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    """A Kafka that all tests share: name your own topics and groups."""
    settings = KafkaSettings(port=free_port(), data_dir=tmp_path_factory.mktemp("kafka"))
    async with EmbeddedKafka(settings) as running:
        yield running


@pytest.fixture(scope="session")
def broker(kafka: EmbeddedKafka) -> str:
    """Its bootstrap address."""
    return kafka.bootstrap


@pytest.fixture(scope="session")
async def registry_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a schema registry that all tests share: name your own subjects."""
    settings = RegistrySettings(port=free_port(), folder=tmp_path_factory.mktemp("registry"))
    async with SchemaRegistry(settings) as registry:
        yield registry.url


class ProxiedKafka(NamedTuple):
    """A Kafka with a proxy before it."""

    bootstrap: str  # through the proxy
    direct: str  # past it
    proxy: Proxy


@pytest.fixture(scope="session")
async def one_proxied_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProxiedKafka]:
    """A Kafka of its own, so that no other test's requests meet the proxy's rules."""
    port = free_port(in_a_row=2)
    settings = KafkaSettings(port=port, data_dir=tmp_path_factory.mktemp("proxied"), advertised_port=port + 1)
    async with Proxy(port + 1, port, seed=7) as proxy, EmbeddedKafka(settings) as kafka:
        yield ProxiedKafka(kafka.bootstrap, kafka.direct, proxy)


@pytest.fixture
def proxied_kafka(one_proxied_kafka: ProxiedKafka) -> Iterator[ProxiedKafka]:
    """The same, with a proxy that is kind before and after."""
    one_proxied_kafka.proxy.be_kind()
    yield one_proxied_kafka
    one_proxied_kafka.proxy.be_kind()
