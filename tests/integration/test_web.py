"""The worker's web views against a real Kafka: live, older than the tables, as CSV, guarded, as their document says."""

import asyncio
import csv
import http.client
import io
import json
import re
import time
import uuid
from urllib.parse import quote, urlsplit

import hypothesis
import pytest
import schemathesis
from aiokafka import AIOKafkaProducer
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from processors.pipeline import CLOSED_ROWS_KEPT
from processors.views.events import STREAMS_MAX
from processors.views.openapi import document
from processors.windows import window_sizes
from schemas.codec import encoder, single_object_header
from schemas.durations import parse_duration
from tests.integration.processes import eventually, worker
from tests.integration.test_worker import M, make_topics, write
from tests.unit.processors.records import TRADES, frame, item

TOKEN = "a-token-of-the-tests-0123456789"
MINUTE = 60_000
MINUTES = 90  # closed windows: more than the tables keep
FIRST = M - (MINUTES - 1) * MINUTE
HOSTILE = (
    *('<img src=x onerror="alert(1)">', "\u202eCTB", "A/B", "..", "=1+1,\"'", "x" * 64, "%2F", "\N{SNOWMAN}"),
    "{asset}",
)
OTHER_CHANNEL = TRADES.replace("10000", "50000")


class Site:
    """A worker's web views, and the token for them."""

    def __init__(self, running, topics, broker):
        self.running, self.topics, self.broker = running, topics, broker
        self.host, self.port = urlsplit(running.web).hostname, urlsplit(running.web).port

    @property
    def asked_by_schemathesis(self):
        """Where and as whom it asks."""
        return {"base_url": self.running.web, "headers": {"Authorization": f"Bearer {TOKEN}"}}

    def ask(self, path, *, method="GET", token=TOKEN, **headers):
        """Return status, headers and body; the path goes out as it is."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
            connection.request(method, path, headers={**bearer, **headers})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, path, **how):
        """Return the decoded body of an answer that is no error."""
        status, _, body = self.ask(path, **how)
        assert status == 200, body
        return json.loads(body)

    def events(self, path="/events", token=TOKEN):
        """Open a stream of events; returns its response."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.connection = connection
        return response


def next_event(stream, name):
    """Return the data of the next event of a name."""
    while True:
        line = stream.readline()
        assert line, "the stream has ended"
        if line == f"event: {name}\n".encode():
            return json.loads(stream.readline().removeprefix(b"data: "))


@pytest.fixture(scope="module")
async def site(broker, tmp_path_factory):
    """A worker that asks for a token, once it has counted 90 minutes of BTC and a minute of hostile names."""
    folder, prefix = tmp_path_factory.mktemp("web"), f"web-{uuid.uuid4().hex[:8]}"
    topics = await make_topics(broker, prefix)
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n")
    minutes = [frame(item(FIRST + n * MINUTE, 1.0 + n)) for n in range(MINUTES)]
    trades = [frame(item(FIRST + n * MINUTE, 1.0 + n), channel=TRADES) for n in range(MINUTES)]
    odd = [frame(item(M, asset=name, symbol="X")) for name in HOSTILE]
    await write(broker, topics, *minutes, *trades, *odd, frame(item(M), channel=OTHER_CHANNEL))
    async with worker(
        broker, folder, prefix, "--window", "1m", "--window", "5m", "--web-token-file", str(token_file)
    ) as running:
        await running.until_ready()
        found = Site(running, topics, broker)

        async def newest(path):
            status, _, body = await asyncio.to_thread(found.ask, f"{path}?windows=1&window=1m")
            return [window["window_start"] for window in json.loads(body)["windows"]] if status == 200 else []

        async def counted():  # of each partition what was written last: they are not read in step
            liquidations, trades = await newest("/liquidations/"), await newest("/imbalance/Binance/BTCUSDT/")
            return liquidations == [M] * (1 + len(HOSTILE)) and trades == [M, M]

        await eventually(counted)
        yield found
        assert await running.stop() == 0, running.log.read_text()
        assert TOKEN not in running.log.read_text()


# -- older than the tables ---------------------------------------------------------------------------------------------


def test_more_windows_than_the_tables_keep_are_read_from_the_finals(site):
    windows = site.json(f"/liquidations/BTC/?windows={MINUTES}&window=1m")["windows"]
    assert [w["long_usd"] for w in windows] == [1.0 + n for n in reversed(range(MINUTES))]
    assert [w["final"] for w in windows] == [False, False] + [True] * (MINUTES - 2)  # the grace is not over
    assert windows[-1].keys() == windows[0].keys()
    assert len(site.json("/liquidations/BTC/?windows=70&window=1m")["windows"]) == 70
    market = site.json("/imbalance/Binance/BTCUSDT/?windows=10000&window=1m")["windows"]
    assert {w["window_start"] for w in market} == {FIRST + n * MINUTE for n in range(MINUTES)}


def test_a_range_holds_what_starts_in_it_whether_final_or_open(site):
    in_ms = f"from={FIRST + MINUTE}&to={FIRST + 4 * MINUTE}&window=1m"
    windows = site.json(f"/liquidations/BTC/?{in_ms}")["windows"]
    assert [w["window_start"] for w in windows] == [FIRST + n * MINUTE for n in (3, 2, 1)]
    assert [w["asset"] for w in site.json(f"/liquidations/?{in_ms}")["windows"]] == ["BTC"] * 3
    (only,) = site.json(f"/liquidations/BTC/?from={M}&window=1m")["windows"]
    assert (only["window_start"], only["final"]) == (M, False)
    by_iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(FIRST / 1000))
    assert len(site.json(f"/imbalance/Binance/BTCUSDT/?from={by_iso}&to={M}&window=1m")["windows"]) == MINUTES - 1
    assert site.json("/liquidations/BTC/?to=1000")["windows"] == []


def test_a_record_that_is_none_of_ours_keeps_nobody_from_the_others(site):
    topics = site.topics

    async def write_junk():
        async with AIOKafkaProducer(bootstrap_servers=site.broker) as producer:
            for topic in (topics.liquidation_volume("1m"), topics.feed_gaps):
                for key, value in ((b"BTC", b"junk"), (b"BTC", None), (None, b"\xc3\x01")):
                    await producer.send_and_wait(topic, value, key)

    asyncio.run(write_junk())
    windows = site.json(f"/liquidations/BTC/?from={FIRST}&window=1m")["windows"]
    assert len(windows) == MINUTES
    assert len(site.json(f"/liquidations/?from={FIRST}&to={M}&window=1m")["windows"]) == MINUTES - 1
    assert site.json("/gaps/") == {"gaps": []}


def test_of_a_market_s_channels_each_has_as_many_windows_as_are_asked_for(site):
    for count in (60, 61, 80):
        windows = site.json(f"/imbalance/Binance/BTCUSDT/?windows={count}&window=1m")["windows"]
        volumes = [window["min_vol_usd"] for window in windows]
        assert (volumes.count(10_000.0), volumes.count(50_000.0)) == (count, 1)


async def test_what_full_tables_have_dropped_is_read_from_the_finals_where_so_many_are_asked_for(broker, tmp_path):
    prefix, assets, minutes = f"full-{uuid.uuid4().hex[:8]}", 250, 50
    assert assets * minutes > CLOSED_ROWS_KEPT
    topics = await make_topics(broker, prefix)
    times = [FIRST + n * MINUTE for n in range(minutes)]
    await write(broker, topics, *(frame(*(item(at, asset=f"A{a}") for a in range(assets))) for at in times))
    async with worker(broker, tmp_path, prefix) as running:
        await running.until_ready()
        newest = f"/liquidations/A{assets - 1}/?windows=1"
        await running.until(
            newest, lambda status, body: status == 200 and body["windows"][0]["window_start"] == times[-1]
        )
        for count in (60, 61):
            _, body = await running.json(f"/liquidations/A0/?windows={count}")
            assert [window["window_start"] for window in body["windows"]] == times[::-1], count
        assert len((await running.json("/liquidations/A0/?windows=45"))[1]["windows"]) == 45
        in_tables = (await running.json("/liquidations/?windows=60"))[1]["windows"]
        assert len(in_tables) < assets * minutes  # of lists the tables alone
        assert await running.stop() == 0


def test_gaps_of_the_feed_are_those_that_overlap_the_range(site, broker):
    async def tell():
        encode = encoder("feed_gap", single_object_header("feed_gap"))
        async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
            for begin in (1_000, 5_000):
                gap = {"from": begin, "to": begin + 1_000, "channels": ["liquidationOrders"], "why": "a test"}
                await producer.send_and_wait(site.topics.feed_gaps, encode(gap))

    assert site.json("/gaps/") == {"gaps": []}
    asyncio.run(tell())
    assert [g["from"] for g in site.json("/gaps/")["gaps"]] == [1_000, 5_000]
    assert [g["from"] for g in site.json("/gaps/?from=2000")["gaps"]] == [5_000]
    assert site.json("/gaps/?from=1999&to=2000")["gaps"][0]["why"] == "a test"


# -- how it is answered ------------------------------------------------------------------------------------------------


def test_csv_holds_the_same_windows(site):
    for path in ("/liquidations/", "/imbalance/Binance/BTCUSDT/", f"/liquidations/BTC/?from={FIRST}&window=1m"):
        status, headers, body = site.ask(path, Accept="text/csv")
        assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8; header=present")
        rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
        windows = site.json(path)["windows"]
        assert rows == [{k: shown_in_csv(v) for k, v in window.items()} for window in windows]


def shown_in_csv(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_an_answer_that_is_still_so_is_not_sent_again(site):
    for path in ("/liquidations/BTC/", "/liquidations/", f"/liquidations/BTC/?from={FIRST}", "/gaps/"):
        _, headers, _ = site.ask(path)
        assert headers["Cache-Control"] == "no-cache"
        status, again, body = site.ask(path, **{"If-None-Match": headers["ETag"]})
        assert (status, again["ETag"], body) == (304, headers["ETag"], b""), path
        assert site.ask(path, **{"If-None-Match": '"another"'})[0] == 200
        assert site.ask(path, **{"If-None-Match": "*"})[0] == 304


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_answered_under_its_own_path_and_said_as_it_is(site, name):
    status, headers, body = site.ask(f"/liquidations/{quote(name, safe='')}/")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == "application/json"
    assert (status, json.loads(body)["asset"]) == (200, name)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("windows=0", "whole number"), ("windows=10001", "10000"), ("windows=1&windows=2", "twice"), ("x=1", "no such"),
        ("window=2m", "1m, 5m"), ("from=never", "ISO 8601"), ("from=5&to=5", "before"), ("from=1&windows=2", "exclude"),
        ("from=" + "9" * 16, "from"), ("windows=" + "1" * 5_000, "too long"), ("to=-1y", "to must be"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_a_400_that_says_what_can(site, query, says):
    status, _, body = site.ask(f"/liquidations/BTC/?{query}")
    assert status == 400
    assert says in json.loads(body)["error"]


@pytest.mark.parametrize("name", ["%ff", "%00", "%ED%A0%80", "%", "%C3%28", "x" * 7_000])
def test_a_name_that_no_feed_could_have_is_unknown(site, name):
    for path in (f"/liquidations/{name}/", f"/imbalance/{name}/{name[:500]}/"):
        status, _, body = site.ask(path)
        assert (status, "error" in json.loads(body)) == (404, True), path


def test_a_list_takes_only_as_many_windows_as_the_tables_keep(site):
    assert site.ask("/liquidations/?windows=61")[0] == 400


# -- who may ask -------------------------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_shown_of_the_feed(site):
    for path in ("/liquidations/", "/liquidations/BTC/", "/events", "/gaps/", "/metrics", "/openapi.json", "/nowhere"):
        for token in (None, "", TOKEN[:-1], TOKEN + "x", "\u00fc".encode().decode("latin-1")):
            status, headers, body = site.ask(path, token=token)
            assert (status, headers["WWW-Authenticate"][:6]) == (401, "Bearer"), path
            assert b"BTC" not in body
    for path in ("/", "/health", "/ready"):
        assert site.ask(path, token=None)[0] == 200


def test_the_token_s_scheme_may_be_spelled_in_any_case(site):
    assert site.ask("/liquidations/", token=None, Authorization=f"bearer {TOKEN}")[0] == 200


def test_nothing_can_be_written(site):
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, headers, body = site.ask("/liquidations/", method=method)
        assert (status, headers["Allow"]) == (405, "GET,HEAD")
        assert json.loads(body)["error"]


# -- live --------------------------------------------------------------------------------------------------------------


def test_events_tell_each_change_soon_and_health_every_second(site):
    stream = site.events()
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert next_event(stream, "hello")["windows"] == ["1m", "5m"]
    health = next_event(stream, "health")
    assert health["counts"]["frames"] == 2 * MINUTES + len(HOSTILE) + 1
    assert health["members"] == [
        {"url": site.running.web, "sources": [[p["topic"], p["partition"]] for p in health["partitions"]]}
    ]
    assert {p["lag"] for p in health["partitions"]} == {0}
    asyncio.run(write(site.broker, site.topics, frame(item(M, 1.0, asset="NEW"))))
    acknowledged = time.monotonic()
    told = next_event(stream, "windows")
    assert time.monotonic() - acknowledged < 1.0
    assert {(w["asset"], w["window"], w["final"]) for w in told["liquidations"]} == {
        ("NEW", "1m", False),
        ("NEW", "5m", False),
    }
    assert told["imbalance"] == []
    stream.connection.close()


def test_only_so_many_streams_are_open_at_a_time(site):
    streams = [site.events() for _ in range(STREAMS_MAX)]
    status, headers, body = site.ask("/events")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert str(STREAMS_MAX) in json.loads(body)["error"]
    for stream in streams:
        stream.connection.close()
        stream.close()
    asyncio.run(eventually(lambda: asyncio.to_thread(opens, site)))


def opens(site):
    stream = site.events()
    stream.connection.close()
    stream.close()
    return stream.status == 200


# -- as the document says ----------------------------------------------------------------------------------------------


DOCUMENT = document(window_sizes((parse_duration("1m"), parse_duration("5m"))), with_token=True)
OPERATIONS = {
    operation.ok().label: operation.ok()
    for operation in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    if operation.ok().path != "/events"  # it has no end, and tests of its own
}


def test_the_document_that_is_served_is_the_one_that_is_tested(site):
    assert site.json("/openapi.json") == DOCUMENT


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_route_answers_as_its_document_says(site, label):
    @like_the_document(OPERATIONS[label], GenerationMode.POSITIVE)
    def answers(case):
        # A document cannot say which parameters exclude each other, or which moment is before which.
        response = case.call_and_validate(**site.asked_by_schemathesis, excluded_checks=[positive_data_acceptance])
        if response.status_code == 400:
            assert re.search("exclude each other|must be before|must be ISO 8601", response.json()["error"])

    answers()


@pytest.mark.parametrize("label", [label for label, operation in OPERATIONS.items() if len(operation.query)])
def test_every_route_refuses_what_its_document_does_not_allow(site, label):
    @like_the_document(OPERATIONS[label], GenerationMode.NEGATIVE)
    def refuses(case):
        case.call_and_validate(**site.asked_by_schemathesis)

    refuses()


def like_the_document(operation, mode):
    """Call a test with requests that are made from the document, the same ones each time."""

    def of(test):
        settings = hypothesis.settings(
            max_examples=15, derandomize=True, database=None, deadline=None, phases=[hypothesis.Phase.generate]
        )
        return hypothesis.given(case=operation.as_strategy(generation_mode=mode))(settings(test))

    return of
