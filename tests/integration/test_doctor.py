"""Doctor on a setup that works, and on ones that do not: a real Kafka, a real registry, a simulated feed."""

import asyncio
import json
import socket
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, closing
from uuid import uuid4

from aiokafka import AIOKafkaConsumer

from broker.admin import connected, ensure_topics
from coinglass_streams.doctor.findings import Level
from coinglass_streams.doctor.key import KeySeen
from coinglass_streams.doctor.run import examine
from coinglass_streams.doctor.settings import DoctorSettings
from processors.registry import register_results
from processors.windows import window_sizes
from producer.service import produce
from producer.settings import ProducerSettings, Secret
from producer.stats import Stats
from sandbox.simulate.server import FeedSettings, SimulatedFeed
from schemas.durations import parse_duration
from schemas.topics import Topics, TopicSpec
from tests.integration.processes import environment, eventually

KEY = "s3cret-of-this+test/0123456789"
IN_ORDER = (
    "key", "connection", "channels", "clock", "broker", "topics", "marks", "group", "registry", "drift", "disk",
)  # fmt: skip
ONE_MINUTE = (parse_duration("1m"),)


async def doctor(*flags, **variables):
    """Run the command; return its exit status, its findings by check, and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coinglass_streams", "doctor", "--json", "--log-level", "debug", *flags,
        stdout=PIPE, stderr=PIPE, env=environment(**variables),
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 40)
    report = json.loads(out)
    found = {}
    for one in report["findings"]:
        found.setdefault(one["check"], []).append(one)
    assert report["ok"] == (process.returncode == 0), errors
    return process.returncode, found, out + errors


def levels(found):
    return {check: [one["level"] for one in findings] for check, findings in found.items()}


@asynccontextmanager
async def producing(settings):
    """Run a producer meanwhile, from when it has published something."""
    stop, stats = asyncio.Event(), Stats()
    task = asyncio.create_task(produce(settings, stop, stats=stats))
    try:
        while not (task.done() or stats.published):  # noqa: ASYNC110 - counted by another thread
            await asyncio.sleep(0.02)
        yield
    finally:
        stop.set()
        await task


async def test_a_setup_that_works_is_ok_in_every_line(broker, registry_url, tmp_path):
    topics, path = Topics(f"test-{uuid4()}"), tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    async with connected(broker) as admin:
        await ensure_topics(admin, (*topics.raw_specs(), *topics.result_specs(ONE_MINUTE)))
    await asyncio.to_thread(register_results, registry_url, topics, window_sizes(ONE_MINUTE))
    async with (
        SimulatedFeed(FeedSettings(port=0, rate_per_s=100, key=KEY)) as feed,
        producing(ProducerSettings(bootstrap=broker, topics=topics, url=feed.url, api_key=Secret(KEY))),
        AIOKafkaConsumer(*topics.raw, bootstrap_servers=broker, group_id=topics.prefix) as worker,
    ):
        await eventually(lambda: asyncio.sleep(0, bool(worker.assignment())))
        status, found, printed = await doctor(
            "--broker", broker, "--topic-prefix", topics.prefix, "--schema-registry", registry_url,
            "--url", feed.url, "--app-id", topics.prefix, COINGLASS_API_KEY_FILE=str(path),
        )  # fmt: skip
    assert list(found) == list(IN_ORDER)
    found["disk"][0]["level"] = "ok"  # what this machine has left is not what is tested
    assert levels(found) == {check: ["ok"] for check in IN_ORDER}, found
    assert status == 0
    assert "Kafka 4.3 at" in found["broker"][0]["says"]
    assert "1 worker," in found["group"][0]["says"]
    assert KEY.encode() not in printed


async def test_what_is_wrong_is_told_line_by_line_with_its_remedy_and_without_the_key(broker, tmp_path):
    topics, path = Topics(f"test-{uuid4()}"), tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    wrong = TopicSpec(
        topics.raw_trades, 2, (("message.timestamp.type", "LogAppendTime"), ("retention.ms", "604800000"))
    )
    async with connected(broker) as admin:
        await ensure_topics(admin, [wrong])
    async with SimulatedFeed(FeedSettings(port=0, key="another")) as feed:
        status, found, printed = await doctor(
            "--broker", broker, "--topic-prefix", topics.prefix, "--schema-registry", "http://user:hidden@127.0.0.1:1",
            "--url", feed.url, "--app-id", topics.prefix, COINGLASS_API_KEY_FILE=str(path),
        )  # fmt: skip
    assert status == 1
    found["disk"][0]["level"] = "ok"
    assert levels(found) == {
        "key": ["warn"], "connection": ["fail"], "channels": ["skip"], "clock": ["skip"], "broker": ["ok"],
        "topics": ["warn", "fail"], "marks": ["warn"], "group": ["warn"], "registry": ["fail"], "drift": ["skip"],
        "disk": ["ok"],
    }  # fmt: skip
    assert found["key"][0]["remedy"] == f"chmod 600 {path}"
    assert "refused the API key (401)" in found["connection"][0]["says"]
    assert found["topics"][1]["remedy"].endswith(
        f"--entity-name {topics.raw_trades} --add-config message.timestamp.type=CreateTime,retention.ms=2592000000"
    )
    assert "127.0.0.1:1 does not answer as a registry" in found["registry"][0]["says"]
    assert KEY.encode() not in printed
    assert b"hidden" not in printed


async def test_a_feed_that_answers_nothing_and_no_broker_hold_up_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr("broker.admin.REACH_SECONDS_MAX", 0.3)
    monkeypatch.setattr("coinglass_streams.doctor.settings.CONNECT_TIMEOUT_MS", 300)
    second, found = parse_duration("1s"), []
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # takes connections, and says nothing
        settings = DoctorSettings(
            bootstrap="127.0.0.1:1", topics=Topics(), url=f"ws://127.0.0.1:{silent.getsockname()[1]}/",
            channels=("liquidationOrders",), key=KeySeen(Secret(KEY), "COINGLASS_API_KEY"), listen=second,
            windows=ONE_MINUTE, mark_every=second, mark_delay=second, folders=(tmp_path,),
        )  # fmt: skip
        async with asyncio.timeout(5):
            await examine(settings, found.append)
    by_check = {finding.check: finding for finding in found}
    assert "did not answer within 0.3 s" in by_check["connection"].says
    assert "no Kafka broker answers at 127.0.0.1:1" in by_check["broker"].says
    assert [check for check, finding in by_check.items() if finding.level is Level.SKIP] == [
        "channels", "clock", "topics", "marks", "group", "registry", "drift",
    ]  # fmt: skip
    assert "free at" in by_check["disk"].says
