"""What a replay gives is what the live worker published, whichever way it is run."""

import asyncio
import itertools
import json
import resource
import shutil
import signal
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from msgspec import structs

from broker.admin import connected, ensure_topics
from processors.archive.export import ExportSettings, export
from processors.archive.manifest import load_manifest, store_manifest
from processors.archive.restore import ImportSettings, restore
from processors.pipeline import PipelineSettings
from processors.replay import LiquidationVolume, files, replay, topics
from processors.replay.ranges import Range
from processors.replay.session import make_plan, running
from processors.replay.settings import ReplaySettings
from processors.windows import window_sizes
from schemas.codec import decode_plain
from schemas.durations import parse_duration
from schemas.moments import iso
from schemas.topics import Topics
from tests.integration import recorded
from tests.integration.processes import eventually, worker
from tests.integration.recorded import run

DURATIONS = tuple(parse_duration(name) for name, _ in recorded.WINDOWS)
FLAGS = [part for name, _ in recorded.WINDOWS for part in ("--window", name)]


class Recorded(NamedTuple):
    """A prefix with raw topics, and what a live worker, killed on its way, published of them."""

    broker: str
    prefix: str
    begin_ms: int
    live: list
    folder: Path  # an export

    @property
    def flags(self):
        return ["--broker", self.broker, "--topic-prefix", self.prefix, *FLAGS]

    def settings(self, **changes):
        topics = Topics(self.prefix)
        pipeline = PipelineSettings(topics, window_sizes(DURATIONS))
        return ReplaySettings(**{"pipeline": pipeline, "source": topics, "bootstrap": self.broker, **changes})


@pytest.fixture(scope="module")
async def live(broker, tmp_path_factory):
    prefix, folder = f"replay-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("replay")
    begin_ms = int(time.time() * 1_000) // 60_000 * 60_000 - 1_200_000
    topics = Topics(prefix)
    async with connected(broker) as client:
        await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs(DURATIONS)])
    records = recorded.recording(begin_ms)
    half = len(records) // 2
    await recorded.write(broker, prefix, records[:half])
    async with worker(broker, folder, prefix, *FLAGS, "--member", "one") as first:

        async def published():
            return len(await recorded.finals(broker, prefix)) > 20

        await eventually(published)
        await first.stop(signal.SIGKILL)
    await recorded.write(broker, prefix, records[half:])
    async with worker(broker, folder, prefix, *FLAGS, "--member", "one") as second:
        await eventually(lambda: recorded.all_committed(broker, prefix, prefix), 40)
        assert await second.stop() == 0
    status, _, errors = await run("export", "--broker", broker, "--topic-prefix", prefix, "--to", folder / "export")
    assert status == 0, errors
    return Recorded(broker, prefix, begin_ms, await recorded.finals(broker, prefix), folder / "export")


async def replayed(settings):
    """Return all results of a replay, in order."""

    def work():
        with running(settings, make_plan(settings)) as steps:
            return [one for step in steps for one in step.results]

    return await asyncio.to_thread(work)


def finals_of(results, prefix):
    names = {topic.removeprefix(prefix) for topic in recorded.finals_topics(prefix)}
    found = [(r.result.topic.removeprefix(prefix), *r.result[1:4]) for r in results]
    return sorted(one for one in found if one[0] in names)


async def test_the_live_worker_published_what_the_oracle_says(live):
    oracle = await recorded.expected(live.broker, live.prefix)
    schemas = {".liquidation-volume": "liquidation_volume", ".trade-imbalance": "trade_imbalance"}
    found = [(t, key, decode_plain(schemas[t.rpartition(".")[0]], value)) for t, key, value, _ in live.live]
    assert _plain(found) == _plain(oracle)
    assert len(found) > 100


async def test_gaps_and_why_they_are_stand_in_the_live_topic_and_in_replays_alike(live):
    published = [
        one.value for some in (await recorded.read(live.broker, f"{live.prefix}.feed-gaps")).values() for one in some
    ]
    gap = {"from": live.begin_ms + (recorded.GAP.start - 1) * 1_000, "to": live.begin_ms + recorded.GAP.stop * 1_000}
    gap |= {"channels": sorted(recorded.CHANNELS), "why": recorded.WHY}
    assert [decode_plain("feed_gap", value) for value in published] == [gap]
    for folder in (None, live.folder):
        results = await replayed(live.settings(input=folder))
        assert [r.result.value for r in results if r.result.topic.endswith(".feed-gaps")] == published


def _plain(finals):
    return sorted((topic, key, sorted(values.items())) for topic, key, values in finals)


@pytest.mark.parametrize(("jobs", "source"), list(itertools.product((1, 2, 4), ("topics", "files"))))
async def test_a_replay_gives_the_live_bytes_in_one_order(live, jobs, source):
    results = await replayed(live.settings(jobs=jobs, input=live.folder if source == "files" else None))
    assert finals_of(results, live.prefix) == live.live
    assert [r.place for r in results] == sorted(r.place for r in results)
    assert not any(r.partial for r in results)
    assert results == await replayed(live.settings())


async def test_an_imported_export_replays_to_the_same_bytes_and_is_imported_once(live):
    prefix = f"{live.prefix}-again"
    flags = ["--broker", live.broker, "--topic-prefix", prefix]
    for _ in range(2):
        status, _, errors = await run("import", *flags, "--input", live.folder)
        assert status == 0, errors
    suffixes = (".raw.liquidations", ".raw.trades")
    theirs = await recorded.read(live.broker, *(prefix + s for s in suffixes))
    ours = await recorded.read(live.broker, *(live.prefix + s for s in suffixes))
    for tp, records in ours.items():
        copies = theirs[tp._replace(topic=tp.topic.replace(live.prefix, prefix))]
        assert [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records] == [
            (r.offset, r.timestamp, r.key, r.value, r.headers) for r in copies
        ]
    topics = Topics(prefix)
    results = await replayed(live.settings(source=topics, pipeline=PipelineSettings(topics, window_sizes(DURATIONS))))
    assert finals_of(results, prefix) == live.live
    async with worker(live.broker, live.folder.parent, prefix, *FLAGS):  # and so does a worker of a new --app-id

        async def same():
            return len(await recorded.finals(live.broker, prefix)) >= len(live.live)

        await eventually(same)
    assert await recorded.finals(live.broker, prefix) == live.live
    await recorded.write(live.broker, prefix, recorded.recording(live.begin_ms)[:50])
    status, _, errors = await run("import", *flags, "--input", live.folder)
    assert (status, errors.count("\n")) == (1, 1)
    assert "holds other records" in errors


async def test_the_pace_changes_nothing(live):
    began = time.monotonic()
    status, fast, errors = await run("replay", *live.flags, "--speed", "600x", "--jobs", "2")
    assert status == 0, errors
    assert time.monotonic() - began > 0.35  # 240 s, less than half a second of them before the first result
    status, lines, errors = await run("replay", *live.flags, "--input", live.folder)
    assert status == 0, errors
    assert fast == lines
    assert len(lines.splitlines()) == len(live.live)
    times_ms = [json.loads(line)["available_at_ms"] for line in lines.splitlines()]
    assert times_ms == sorted(times_ms)


@pytest.mark.parametrize("second", [30, 61, 95, 110, 130, 200])
async def test_a_range_gives_whole_finals_with_the_live_bytes_and_marks_the_rest(live, second, monkeypatch):
    for module in (topics, files):
        monkeypatch.setattr(module, "WARM_UP_MS", 60_000)  # so that it does not reach the log's beginning
    from_ms, to_ms = live.begin_ms + second * 1_000, live.begin_ms + second * 1_000 + 35_000
    for source in (None, live.folder):
        results = await replayed(live.settings(range=Range(from_ms, to_ms), flush=True, input=source))
        whole = finals_of([r for r in results if not r.partial], live.prefix)
        assert set(whole) <= set(live.live)
        assert all(from_ms <= r.available_at_ms < to_ms for r in results)
        starts = [decode_plain_start(r) for r in results if r.partial and r.result.topic.endswith("s")]
        assert starts
    due = [f for f in live.live if from_ms <= f[3] < to_ms and decode_start(f[0], f[2]) >= from_ms]
    assert set(whole) >= {f for f in due if f[3] != live.begin_ms + 60_000}


def decode_start(topic, value):
    schema = "liquidation_volume" if "liquidation" in topic else "trade_imbalance"
    return decode_plain(schema, value)["window_start"]


def decode_plain_start(one):
    return decode_start(one.result.topic, one.result.value)


async def test_a_range_of_event_time_gives_the_windows_in_it(live):
    from_ms, to_ms = live.begin_ms + 55_000, live.begin_ms + 185_000
    results = await replayed(live.settings(range=Range(from_ms, to_ms, "event")))
    whole = finals_of([r for r in results if not r.partial], live.prefix)
    sizes = dict(recorded.WINDOWS)
    inside = [
        f
        for f in live.live
        if from_ms <= (at := decode_start(f[0], f[2])) and at + sizes[f[0].rpartition(".")[2]] <= to_ms
    ]
    assert whole == inside


async def test_filters_leave_the_bytes_alone(live):
    channel = recorded.CHANNELS[1]
    results = await replayed(live.settings(channels=frozenset([channel])))
    assert finals_of(results, live.prefix) == [f for f in live.live if f[1] == channel.encode()]
    results = await replayed(live.settings(assets=frozenset(["ETH"]), channels=frozenset([recorded.LIQUIDATIONS])))
    assert finals_of(results, live.prefix) == [f for f in live.live if f[1] == b"ETH"]


async def test_python_gives_typed_results_and_tables(live):
    arguments = {"broker": live.broker, "topic_prefix": live.prefix, "windows": ["10s", "1m"]}
    finals = list(replay(**arguments))  # in a running event loop, as in a notebook
    assert len(finals) == len(live.live)
    one = next(f for f in finals if isinstance(f, LiquidationVolume))
    assert one.total_usd == pytest.approx(one.long_usd + one.short_usd)
    with pytest.raises(AttributeError):
        one.total_usd = 0.0
    table = replay(**arguments, input=live.folder).to_arrow("trade-imbalance")
    assert len(table) + sum(isinstance(f, LiquidationVolume) for f in finals) == len(finals)
    assert len(replay(**arguments).to_arrow()) == len(finals)
    some = iter(replay(**arguments))
    next(some)
    some.close()


async def test_parquet_has_every_final_in_its_partition_of_the_folder(live, tmp_path):
    status, _, errors = await run("replay", *live.flags, "--to-parquet", tmp_path / "out")
    assert status == 0, errors
    table = pq.read_table(tmp_path / "out")
    assert len(table) == len(live.live)
    assert {"aggregate", "date", "available_at_ms", "partial"} <= set(table.column_names)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    status, _, errors = await run("replay", *live.flags, "--to-parquet", tmp_path / "out")
    assert (status, errors.count("\n")) == (2, 1)


async def test_results_come_to_topics_once_though_the_replay_is_killed_and_the_topics_grow(live):
    source, target = f"{live.prefix}-grown", f"{live.prefix}-to"
    flags = ["--broker", live.broker, "--topic-prefix", source]
    status, _, errors = await run("import", *flags, "--input", live.folder)
    assert status == 0, errors
    flags += [*FLAGS, "--to-topics", target]
    killed = await recorded.start("replay", *flags, "--speed", "20x")  # so that it takes 12 s
    while b"replay.run" not in await asyncio.wait_for(killed.stderr.readline(), 20):
        assert killed.returncode is None

    async def some_written():
        return await recorded.finals(live.broker, target)

    await eventually(some_written)
    killed.kill()
    await killed.communicate()
    written = len(await recorded.finals(live.broker, target))
    assert 0 < written < len(live.live)
    await recorded.write(live.broker, source, recorded.recording(live.begin_ms + 300_000)[:500])
    for _ in range(2):
        status, _, errors = await run("replay", *flags)
        assert status == 0, errors
        assert "already_written=0" not in errors
    assert await recorded.finals(live.broker, target) == live.live
    others = [f"{target}.{name}" for name in ("late", "dead-letters")]
    found = await recorded.read(live.broker, *others, *recorded.finals_topics(target))
    assert len({dict(one.headers)["replay.run"] for some in found.values() for one in some}) == 1
    theirs = await recorded.read(live.broker, f"{live.prefix}.late", f"{live.prefix}.dead-letters")
    assert sum(len(some) for tp, some in found.items() if tp.topic in others) == sum(map(len, theirs.values()))


async def test_verify_is_content_with_the_live_finals(live):
    status, out, errors = await run("replay", *live.flags, "--verify")
    assert status == 0, errors
    assert f"{len(live.live)} finals are the same byte for byte".encode() in out
    span = ["--from", iso(live.begin_ms + 95_000), "--to", iso(live.begin_ms + 200_000)]
    status, out, errors = await run("replay", *live.flags, *span, "--verify")
    assert status == 0, (out, errors)


async def test_verify_finds_a_final_that_was_tampered_with_one_that_is_missing_and_one_too_many(live):
    prefix = f"{live.prefix}-false"
    flags = ["--broker", live.broker, "--topic-prefix", prefix]
    status, _, errors = await run("import", *flags, "--input", live.folder)
    assert status == 0, errors
    async with connected(live.broker) as client:
        await ensure_topics(client, Topics(prefix).result_specs(DURATIONS))
    tampered, _, twice = live.live[5:8]
    value = bytearray(tampered[2])
    value[-1] ^= 2  # the revision, 0, becomes 1
    published = [*live.live[:5], (*tampered[:2], bytes(value), tampered[3]), twice, *live.live[7:]]
    async with AIOKafkaProducer(bootstrap_servers=live.broker) as producer:
        await asyncio.gather(
            *[
                await producer.send(prefix + topic, value, key=key, timestamp_ms=timestamp_ms)
                for topic, key, value, timestamp_ms in published
            ]
        )
    status, out, errors = await run("replay", *flags, *FLAGS, "--verify")
    assert status == 1
    assert f"{len(live.live) - 2} finals are the same byte for byte, 3 differ" in errors
    for said in ("revision 1 was published, 0 replayed", "published twice", "not published"):
        assert said in out.decode()


BAD = [
    (["--from", "yesterday"], 2, "not a time"),
    (["--from", "2024-09-04T03:00Z", "--to", "2024-09-04T02:00Z"], 2, "holds no moment"),
    (["--channel", "nonsense"], 2, "not a channel"),
    (["--speed", "fast"], 2, "--speed"),
    (["--input", "/nowhere/at/all"], 1, "no export"),
    (["--topic-prefix", "nothing-here"], 1, "there is neither"),
]


@pytest.mark.parametrize(("flags", "expected", "line"), BAD, ids=[" ".join(flags) for flags, _, _ in BAD])
async def test_what_cannot_be_is_one_line_and_a_status(live, flags, expected, line):
    status, out, errors = await run("replay", *live.flags, *flags)
    assert (status, out, errors.count("\n")) == (expected, b"", 1), errors
    assert line in errors


async def test_an_empty_range_is_done_with_nothing(live):
    status, out, errors = await run("replay", *live.flags, "--from", "2001-01-01", "--to", "2001-01-02")
    assert (status, out) == (0, b"")
    assert "the range holds no records" in errors


async def test_a_damaged_export_is_one_line(live, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(live.folder, folder)
    file = max(folder.glob("topic=*/partition=*/*.parquet"), key=lambda path: path.stat().st_size)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    status, _, errors = await run("replay", *live.flags, "--input", folder, "--to-parquet", tmp_path / "out")
    assert (status, errors.count("\n")) == (1, 1)
    assert "damaged" in errors
    assert not (tmp_path / "out").exists()
    (folder / "manifest.json").write_bytes(b"{")
    status, _, errors = await run("replay", *live.flags, "--input", folder)
    assert (status, errors.count("\n")) == (1, 1)


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))


async def test_a_full_disk_leaves_nothing_behind(live, tmp_path):
    status, _, errors = await run("replay", *live.flags, "--to-parquet", tmp_path / "out", preexec_fn=small_files)
    assert (status, errors.count("\n")) == (1, 2), errors  # replay.done, and why it did not do
    assert "cannot be written" in errors
    assert list(tmp_path.iterdir()) == []
    status, _, errors = await run("export", *live.flags[:4], "--to", tmp_path / "export", preexec_fn=small_files)
    assert (status, errors.count("\n")) == (1, 1)
    assert not list(tmp_path.rglob("*.tmp")), errors
    assert not list(tmp_path.rglob("*.parquet"))
    status, _, errors = await run("export", *live.flags[:4], "--to", tmp_path / "export")  # goes on
    assert status == 0, errors
    assert (tmp_path / "export/manifest.json").read_bytes() == (live.folder / "manifest.json").read_bytes()


async def test_ctrl_c_leaves_no_half_folder(live, tmp_path):
    process = await recorded.start(
        "replay", *live.flags, "--to-parquet", tmp_path / "out", "--speed", "1x", "--jobs", "2"
    )
    await eventually(lambda: asyncio.to_thread(lambda: list(tmp_path.iterdir())))
    await asyncio.sleep(1)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, errors = await process.communicate()
    assert (process.returncode, list(tmp_path.iterdir())) == (0, []), errors
    assert b"Traceback" not in errors


async def test_an_avro_export_goes_on_where_it_ends_and_replays_alike(live, tmp_path):
    flags = [*live.flags[:4], "--to", tmp_path / "avro", "--format", "avro"]
    for _ in range(2):
        status, _, errors = await run("export", *flags)
        assert status == 0, errors
    results = await replayed(live.settings(input=tmp_path / "avro"))
    assert finals_of(results, live.prefix) == live.live


def only(folder, kept):
    """Leave an export with some of its files, as one that was cut short."""
    manifest = load_manifest(folder)
    store_manifest(folder, structs.replace(manifest, files=tuple(f for f in manifest.files if kept(f))))


async def test_an_export_and_an_import_that_were_cut_short_go_on(live, tmp_path):
    settings = ExportSettings(live.broker, Topics(live.prefix), tmp_path / "small", file_rows_max=150)
    whole = await export(settings)
    assert len(whole.files) > 16
    assert await export(settings) == whole
    target = ImportSettings(live.broker, Topics(f"{live.prefix}-small"), tmp_path / "small")
    only(tmp_path / "small", lambda file: file.first_offset < 300)
    some = await restore(target)
    (tmp_path / "small" / whole.files[0].path).with_name(".left.tmp").write_bytes(b"half")
    again = await export(settings)
    assert sorted(again.files, key=lambda f: f.path) == sorted(whole.files, key=lambda f: f.path)
    assert not list((tmp_path / "small").rglob(".*.tmp"))
    rest = await restore(target)
    assert (some > 0, some + rest) == (True, sum(file.rows for file in whole.files))
    assert await restore(target) == 0
    raw = await recorded.read(live.broker, *Topics(live.prefix).raw)
    theirs = await recorded.read(live.broker, *target.topics.raw)
    assert [[(r.key, r.value, r.timestamp, r.offset) for r in some] for some in theirs.values()] == [
        [(r.key, r.value, r.timestamp, r.offset) for r in some] for some in raw.values()
    ]


async def test_what_a_killed_replay_left_is_removed_by_the_next(live, tmp_path):
    process = await recorded.start("replay", *live.flags, "--to-parquet", tmp_path / "out", "--speed", "1x")
    await eventually(lambda: asyncio.to_thread(lambda: list(tmp_path.iterdir())))
    process.kill()
    await process.communicate()
    status, _, errors = await run("replay", *live.flags, "--to-parquet", tmp_path / "out")
    assert status == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
