"""Three Kafkas as one cluster, as a class and as the command."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from structlog.testing import capture_logs

from broker.admin import connected, ensure_topics
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.kafka_cluster import ClusterSettings, EmbeddedCluster
from sandbox.kafka_files import QuorumState
from sandbox.ports import free_port
from schemas.errors import OperationError, UsageError
from schemas.topics import TopicSpec
from tests.integration.processes import running_kafka
from tests.integration.reading import values

ALL = {1, 2, 3}


def command(port: int, data_dir: Path, nodes: int = 3) -> list[str]:
    flags = ["--port", str(port), "--data-dir", str(data_dir), "--nodes", str(nodes)]
    return [sys.executable, "-m", "coinglass_streams", "kafka", *flags]


def running_command(port: int, data_dir: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command, ready."""
    return running_kafka(command(port, data_dir), f"127.0.0.1:{port},127.0.0.1:{port + 1},127.0.0.1:{port + 2}")


def java_pids(data_dir: Path) -> dict[int, int]:
    """The process of each node whose folder is in this one."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            folder = (entry / "cwd").readlink()
            if folder.parent == data_dir and "java" in (entry / "exe").readlink().name:
                found[int(folder.name.removeprefix("node-"))] = int(entry.name)
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the command's cluster, and then of the class's: it is formatted once."""
    return tmp_path_factory.mktemp("cluster")


def test_the_command_warns_of_a_death_and_goes_on_until_sigterm_which_leaves_no_java(folder: Path) -> None:
    with running_command(free_port(in_a_row=3), folder) as process:
        assert process.stderr is not None
        pids = java_pids(folder)
        assert pids.keys() == ALL
        # Not who leads the controllers: those left, told to stop before they have elected another, cannot always take
        # their leave, and are then killed after a while.
        _, leader = max(QuorumState(folder / f"node-{node}").read() for node in ALL)
        victim, *others = sorted(ALL - {leader})
        os.kill(pids[victim], signal.SIGKILL)
        line = process.stderr.readline()
        assert "kafka.node_died" in line
        assert f"node={victim}" in line
        assert "left=2" in line
        process.terminate()
        assert process.wait(25) == 0
        assert process.stderr.read() == ""
    assert java_pids(folder) == {}
    assert all((folder / f"node-{node}" / "topics" / ".kafka_cleanshutdown").exists() for node in (leader, *others))

    single = subprocess.run(command(free_port(), folder, 1), capture_output=True, text=True, timeout=60)
    assert single.returncode == 1
    assert single.stderr == (
        f"coinglass-streams: the data folder {folder} was made with --nodes 3, not 1: "
        "open it with --nodes 3, or choose another folder with --data-dir\n"
    )


def test_a_taken_port_of_any_node_is_one_line_and_status_1(tmp_path: Path) -> None:
    port = free_port(in_a_row=3)
    with socket.create_server(("127.0.0.1", port + 2)):
        done = subprocess.run(command(port, tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"coinglass-streams: node 3 of 3: port {port + 2} is taken: stop what listens there, "
        "or choose another port with --port\n"
    )
    assert java_pids(tmp_path) == {}


@pytest.fixture(scope="module")
async def cluster(folder: Path) -> AsyncIterator[EmbeddedCluster]:
    """One for all tests of the class: each leaves three nodes running."""
    settings = ClusterSettings(port=free_port(in_a_row=3), data_dir=folder)
    async with EmbeddedCluster(settings) as running:
        yield running


async def asked(bootstrap: str, question: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
    """The answer of a broker that lives and knows it: any is asked, and each hears of a change in its own time."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with connected(bootstrap) as client:
                    return await question(client)
            except KafkaError:
                await asyncio.sleep(0.1)


async def partitions(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    async def led(client: AIOKafkaAdminClient) -> list[dict[str, Any]]:
        (described,) = await client.describe_topics([topic])
        found: list[dict[str, Any]] = described["partitions"]
        for code in (described["error_code"], *(partition["error_code"] for partition in found)):
            if code:
                raise for_code(code)
        return found

    return list(await asked(bootstrap, led))


async def make_topic(bootstrap: str, count: int = 3) -> str:
    name = f"test-{uuid4()}"
    await asked(bootstrap, lambda client: ensure_topics(client, [TopicSpec(name, count)]))
    return name


async def min_isr(bootstrap: str, topic: str) -> str:
    async def configured(client: AIOKafkaAdminClient) -> str:
        (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((code, _, _, _, entries),) = response.resources
        if code:
            raise for_code(code)
        return next(str(entry[1]) for entry in entries if entry[0] == "min.insync.replicas")

    return str(await asked(bootstrap, configured))


@asynccontextmanager
async def producing(bootstrap: str, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", retry_backoff_ms=50, request_timeout_ms=3_000, **settings
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def until_all_copies_are_in_sync(cluster: EmbeddedCluster, topic: str) -> None:
    deadline = time.monotonic() + 20
    while any(set(partition["isr"]) != ALL for partition in await partitions(cluster.bootstrap, topic)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_every_topic_has_three_copies_of_which_two_must_be_in_sync(cluster: EmbeddedCluster) -> None:
    topic = await make_topic(cluster.bootstrap)
    async with producing(cluster.bootstrap, transactional_id=f"test-{uuid4()}") as producer, producer.transaction():
        await producer.send_and_wait(topic, b"value", partition=0)
        await producer.send_offsets_to_transaction({TopicPartition(topic, 0): 1}, f"test-{uuid4()}")
    for name in (topic, "__consumer_offsets", "__transaction_state"):
        described = await partitions(cluster.bootstrap, name)
        assert [set(partition["replicas"]) for partition in described] == [ALL] * len(described), name
        assert await min_isr(cluster.bootstrap, name) == "2", name


@pytest.mark.parametrize("of", ["a partition's leader", "the controllers' leader"])
async def test_what_is_produced_with_acks_all_survives_kill_9_of(cluster: EmbeddedCluster, of: str) -> None:
    topic = await make_topic(cluster.bootstrap, 1)
    leader = (await partitions(cluster.bootstrap, topic))[0]["leader"]
    victim = cluster.controller() if of == "the controllers' leader" else leader
    others = ",".join(cluster.node(node).bootstrap for node in sorted(ALL - {victim}))
    async with producing(cluster.bootstrap, enable_idempotence=True, metadata_max_age_ms=1_000) as producer:
        for number in range(100):
            await producer.send(topic, b"%d" % number, partition=0)
        await producer.flush()
        await cluster.kill(victim)
        assert victim not in cluster.pids
        async with asyncio.timeout(20):
            for number in range(100, 200):
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
    assert await values(others, topic, 0) == [b"%d" % number for number in range(200)]
    (described,) = await partitions(others, topic)
    assert described["leader"] != victim
    assert victim not in described["isr"]
    assert cluster.controller() != victim

    await cluster.restart(victim)
    assert cluster.pids.keys() == ALL
    await until_all_copies_are_in_sync(cluster, topic)


async def test_a_frozen_node_holds_up_nothing_for_longer_than_its_session_and_comes_back(
    cluster: EmbeddedCluster,
) -> None:
    topic = await make_topic(cluster.bootstrap, 1)
    leader = (await partitions(cluster.bootstrap, topic))[0]["leader"]
    async with producing(cluster.bootstrap, enable_idempotence=True, metadata_max_age_ms=1_000) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        cluster.freeze(leader)
        try:
            async with asyncio.timeout(20):
                await producer.send_and_wait(topic, b"meanwhile", partition=0)
        finally:
            cluster.thaw(leader)
        await producer.send_and_wait(topic, b"after", partition=0)
    await until_all_copies_are_in_sync(cluster, topic)
    assert await values(cluster.bootstrap, topic, 0) == [b"before", b"meanwhile", b"after"]


async def test_a_single_nodes_folder_is_not_taken_for_a_clusters(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "meta.properties").touch()
    with pytest.raises(OperationError, match="made with --nodes 1, not 3"):
        await EmbeddedCluster(ClusterSettings(port=free_port(in_a_row=3), data_dir=tmp_path)).start()


async def test_a_folder_in_use_is_refused(cluster: EmbeddedCluster) -> None:
    with pytest.raises(OperationError, match="in use by another running Kafka"):
        await EmbeddedCluster(ClusterSettings(port=free_port(in_a_row=3), data_dir=cluster.settings.data_dir)).start()
    with pytest.raises(OperationError, match="in use by another running Kafka"):
        await EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=cluster.settings.data_dir)).start()


@pytest.mark.parametrize("nodes", [0, 1, 2, 4])
def test_a_number_of_nodes_that_survives_no_death_or_wastes_a_node_is_refused(nodes: int) -> None:
    with pytest.raises(UsageError, match="odd number"):
        ClusterSettings(nodes=nodes)


async def test_when_the_majority_is_gone_it_says_so_and_the_rest_is_stopped(cluster: EmbeddedCluster) -> None:
    watching = asyncio.create_task(cluster.run_while_quorate())
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await cluster.kill(1)
        deadline_s = time.monotonic() + 5
        while not logs:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)
    assert [(entry["event"], entry["node"], entry["left"]) for entry in logs] == [("kafka.node_died", 1, 2)]
    assert not watching.done()
    await cluster.kill(3)
    with pytest.raises(OperationError, match="1 of 3 Kafka nodes are left, too few to go on"):
        await asyncio.wait_for(watching, 5)
    assert cluster.pids.keys() == {2}
    await asyncio.wait_for(cluster.stop(), 5)  # not minutes, which it would wait for the controllers' majority
    assert java_pids(cluster.settings.data_dir) == {}
