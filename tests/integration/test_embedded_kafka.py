"""The embedded Kafka, as a fixture and as the command."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from broker.admin import connected, ensure_topics, partition_counts
from sandbox import kafka as kafka_module
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from schemas.errors import OperationError, UsageError
from schemas.topics import TopicSpec
from tests.integration.processes import running_kafka


def command(port: int, data_dir: Path) -> list[str]:
    return [sys.executable, "-m", "coinglass_streams", "kafka", "--port", str(port), "--data-dir", str(data_dir)]


def running_command(port: int, data_dir: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command, ready."""
    return running_kafka(command(port, data_dir), f"127.0.0.1:{port}")


def java_pids(data_dir: Path) -> list[int]:
    """Kafkas whose working folder is this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == data_dir and "java" in (entry / "exe").readlink().name:
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def wait_until_gone(pids: list[int], seconds_max: float = 5.0) -> None:
    deadline = time.monotonic() + seconds_max
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < deadline, f"{pids} still run"
        time.sleep(0.05)


async def records(bootstrap: str, topic: str, isolation_level: str) -> list[bytes]:
    """All values of partition 0."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation_level)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)  # not seek_to_beginning: a jump to the end may be under way, and come later
        end = (await consumer.end_offsets([partition]))[partition]
        values = []
        while await consumer.position(partition) < end:
            batch = await consumer.getmany(timeout_ms=500)
            values += [record.value for record in batch.get(partition, [])]
        return values
    finally:
        await consumer.stop()


async def cluster_id_of(bootstrap: str) -> str:
    async with connected(bootstrap) as client:
        return str((await client.describe_cluster())["cluster_id"])


async def make_topic(bootstrap: str, partitions: int = 1) -> str:
    name = f"test-{uuid4()}"
    async with connected(bootstrap) as client:
        await ensure_topics(client, [TopicSpec(name, partitions)], replication=1)
    return name


async def test_what_a_transaction_commits_is_read_and_what_it_aborts_is_not(broker: str) -> None:
    topic = await make_topic(broker)
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=f"test-{uuid4()}")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
    finally:
        await producer.stop()
    assert await records(broker, topic, "read_committed") == [b"committed"]
    assert await records(broker, topic, "read_uncommitted") == [b"committed", b"aborted"]


async def test_a_topic_that_nobody_made_does_not_appear_by_itself(broker: str) -> None:
    async with connected(broker) as client:
        name = f"nobody-{uuid4()}"
        assert await partition_counts(client, [name]) == {}
        assert await partition_counts(client, [name]) == {}


async def test_several_can_start_at_once_and_each_ones_data_and_cluster_survive_a_restart(tmp_path: Path) -> None:
    kept, other = (EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=tmp_path / n)) for n in ("a", "b"))
    async with asyncio.TaskGroup() as group:
        group.create_task(kept.start())
        group.create_task(other.start())
    cluster_id, topic = await cluster_id_of(kept.bootstrap), await make_topic(kept.bootstrap)
    assert await cluster_id_of(other.bootstrap) != cluster_id
    async with AIOKafkaProducer(bootstrap_servers=kept.bootstrap) as producer:
        await producer.send_and_wait(topic, b"kept", partition=0)
    await kept.stop()
    await other.stop()
    async with EmbeddedKafka(kept.settings) as again:
        assert await cluster_id_of(again.bootstrap) == cluster_id
        assert await records(again.bootstrap, topic, "read_committed") == [b"kept"]
    assert java_pids(tmp_path / "a") == java_pids(tmp_path / "b") == []


def test_a_taken_port_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run(command(port, tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"coinglass-streams: port {port} is taken: stop what listens there, or choose another port with --port\n"
    )
    assert done.stdout == ""


def test_a_data_folder_that_cannot_be_written_is_one_line_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(command(free_port(), tmp_path / "file" / "kafka"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "--data-dir" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_with_status_0_and_leaves_no_java(tmp_path: Path, number: signal.Signals) -> None:
    with running_command(free_port(), tmp_path) as process:
        (pid,) = java_pids(tmp_path)
        assert os.getsid(pid) == pid, "Ctrl-C in the terminal would reach Kafka before the command"
        process.send_signal(number)
        process.send_signal(number)  # as from a terminal and a supervisor both: no less clean for that
        assert process.wait(25) == 0
    assert java_pids(tmp_path) == []
    assert (tmp_path / "topics" / ".kafka_cleanshutdown").exists()


def test_a_signal_while_kafka_starts_stops_the_command_with_status_0(tmp_path: Path) -> None:
    with subprocess.Popen(command(free_port(), tmp_path)) as process:
        while not java_pids(tmp_path):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait(25) == 0
    assert java_pids(tmp_path) == []


def test_sigkill_of_the_command_takes_kafka_with_it_and_of_kafka_the_command_in_the_same_folder(tmp_path: Path) -> None:
    port = free_port()
    with running_command(port, tmp_path) as process:
        pids = java_pids(tmp_path)
        assert len(pids) == 1
        process.kill()
        process.wait()
        wait_until_gone(pids)
    with running_command(port, tmp_path) as process:
        (pid,) = java_pids(tmp_path)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(25) == 1
        assert process.stderr is not None
        (line,) = process.stderr.readlines()
    assert "Kafka died with status -9" in line


def test_a_data_folder_in_use_is_one_line_and_status_1(kafka: EmbeddedKafka) -> None:
    folder = kafka.settings.data_dir
    done = subprocess.run(command(free_port(), folder), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "in use by another running Kafka" in done.stderr
    assert done.stderr.count("\n") == 1
    assert java_pids(folder) == [kafka.pid]


async def test_kafka_that_dies_at_its_start_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "meta.properties").write_text("node.id=7\nversion=1\ncluster.id=other\n")
    with pytest.raises(OperationError, match=r"Kafka died with status 1: .*node[. ]id"):
        await EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=tmp_path)).start()
    assert java_pids(tmp_path) == []


async def test_a_java_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    settings = KafkaSettings(port=free_port(), data_dir=tmp_path, java_flags=("-Xmx1k",))
    with pytest.raises(OperationError, match="Too small maximum heap"):
        await EmbeddedKafka(settings).start()


async def test_kafka_that_never_answers_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_module, "START_SECONDS_MAX", 0.1)
    with pytest.raises(OperationError, match="did not answer"):
        await EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=tmp_path)).start()
    assert java_pids(tmp_path) == []


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match="65535"):
        KafkaSettings(port=port)


async def test_without_the_artifacts_and_a_network_the_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("M2_REPO", str(blocked / "repository"))
    with pytest.raises(OperationError, match="M2_REPO"):
        await EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=tmp_path / "kafka")).start()
