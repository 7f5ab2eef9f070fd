"""A feed storm short enough for every test run, and its controls; `tests.fault.feed_storm` runs longer ones."""

import dataclasses
import json
from collections.abc import Callable, Iterator

import pytest

from schemas.topics import HEADER_WHY, MARK_KEY
from tests.fault.brokers import GivenBroker
from tests.fault.exits import judge_producer
from tests.fault.expected import RawRow
from tests.fault.feed.check import Evidence
from tests.fault.feed.journal import Connection, Fate, Receipt, Sent, stamp_of
from tests.fault.feed.prints import CHANNELS, Market
from tests.fault.feed.settings import FeedStormSettings
from tests.fault.feed_storm import feed_storm
from tests.fault.gaps import gap_problems
from tests.oracle import Mark

BLOWS = ("cut", "half-open", "odd", "too-long", "refuse", "kill", "stop")
Rows = dict[tuple[str, int], list[RawRow]]


async def test_a_storm_of_a_hostile_feed_loses_nothing_unsaid_and_its_check_would_see_it(broker, tmp_path):
    settings = FeedStormSettings(
        *(6.0, 11),
        producers=2,
        redundant=True,
        rate=100,
        blows=BLOWS,
        quick=True,
        pace=6,
        mark_every_ms=200,
    )
    report, evidence = await feed_storm(settings, tmp_path, GivenBroker(broker))
    assert report.passed, report.table()
    assert len(report.blows.keys() & {*BLOWS}) >= 5, report.table()
    assert report.counts["frames kept"] > 500
    assert report.counts["letters kept"] > 5
    for tampered, what in CONTROLS:
        rows = {source: [*rows] for source, rows in evidence.rows.items()}
        tampered(rows, evidence)
        problems = dataclasses.replace(evidence, rows=rows).problems()
        assert any(what in problem for problem in problems), (what, problems[:5])


# --- what the check must see ------------------------------------------------------------------------------------------


def _frames(rows: Rows, evidence: Evidence) -> Iterator[tuple[list[RawRow], int]]:
    """Yield the places of frames that have frames of the same connection before and after them."""
    for (topic, _), of_source in rows.items():
        for place in range(5, len(of_source) - 5):
            around = [row for row in of_source[place - 5 : place + 6] if row.key != MARK_KEY]
            stamps = {stamp_of(row.value or b"") for row in around}
            if topic in evidence.topics.raw and len(around) == 11 and len(stamps) == 1:
                yield of_source, place


def _marks(rows: Rows, kind: str) -> Iterator[tuple[list[RawRow], int]]:
    for of_source in rows.values():
        for place, row in enumerate(of_source):
            if row.key == MARK_KEY and json.loads(row.value or b"")["kind"] == kind:
                yield of_source, place


def _drop_a_frame(rows: Rows, evidence: Evidence) -> None:
    of_source, place = next(_frames(rows, evidence))
    del of_source[place]


def _repeat_a_frame(rows: Rows, evidence: Evidence) -> None:
    of_source, place = next(_frames(rows, evidence))
    of_source.insert(place, of_source[place])


def _swap_frames(rows: Rows, evidence: Evidence) -> None:
    of_source, place = next(_frames(rows, evidence))
    of_source[place], of_source[place + 1] = of_source[place + 1], of_source[place]


def _change_a_byte(rows: Rows, evidence: Evidence) -> None:
    of_source, place = next(_frames(rows, evidence))
    row = of_source[place]
    of_source[place] = row._replace(value=(row.value or b"").replace(b"Binance", b"Bimance"))


def _change_a_time(rows: Rows, evidence: Evidence) -> None:
    of_source, place = next(_frames(rows, evidence))
    of_source[place] = of_source[place]._replace(timestamp=of_source[place].timestamp - 5_000)


def _drop_a_letter(rows: Rows, evidence: Evidence) -> None:
    letters = [of for (topic, _), of in rows.items() if topic == evidence.topics.dead_letters and of]
    for of_source in letters:
        del of_source[:]


def _forget_why(rows: Rows, evidence: Evidence) -> None:
    for of_source, place in _marks(rows, "down"):
        row = of_source[place]
        of_source[place] = row._replace(headers=tuple(h for h in row.headers if h[0] != HEADER_WHY))


def _claim_more(rows: Rows, evidence: Evidence) -> None:
    """Shift what the last marks of connections claim to have heard, and the marks with it."""
    for of_source, place in [*_marks(rows, "down")]:
        row = of_source[place]
        mark = json.loads(row.value or b"")
        mark["heard_at_ms"] = mark["at_ms"] = mark["at_ms"] + 60_000
        of_source[place] = row._replace(value=json.dumps(mark).encode(), timestamp=mark["at_ms"])


def _claim_less(rows: Rows, evidence: Evidence) -> None:
    """Forget all marks of a connection but the first and the second."""
    said: dict[tuple[int, str], int] = {}
    for number, of_source in enumerate(rows.values()):
        kept = []
        for row in of_source:
            if row.key == MARK_KEY:
                key = number, json.loads(row.value or b"")["connection"]
                said[key] = said.get(key, 0) + 1
                if said[key] > 2:
                    continue
            kept.append(row)
        of_source[:] = kept


CONTROLS: list[tuple[Callable[[Rows, Evidence], None], str]] = [
    (_drop_a_frame, "is covered and not there"),
    (_repeat_a_frame, "comes after"),
    (_swap_frames, "comes after"),
    (_change_a_byte, "is not what the feed sent"),
    (_change_a_time, "is said to have come at"),
    (_drop_a_letter, "is covered and not there"),
    (_forget_why, "without saying why"),
    (_claim_more, "over at"),
    (_claim_less, "is not covered"),
]


def test_a_pong_tells_what_had_been_read_before_its_ping():
    connection = Connection(0, 0, 0, sent=[Sent(ms, b"", Fate.FRAME) for ms in range(5)])
    connection.receipts += [Receipt(2, 10, 15), Receipt(4, 20, 25)]
    assert [connection.read_by_ms(place) for place in range(5)] == [15, 15, 25, 25, None]
    assert connection.heard_ms == 20


def test_what_is_sent_tells_its_connection_and_stays_the_same_json():
    (message,) = Market(3).tick(1_000_000).messages(cut_up=False)
    payloads = {Connection(number, 0, 0).stamped(message.payload) for number in range(2_000)}
    assert len(payloads) == 2_000
    assert all(json.loads(payload) == json.loads(message.payload) for payload in payloads)
    assert stamp_of(Connection(1_234, 0, 0).stamped(b"garbage")) == 1_234
    assert stamp_of(b"somebody else's") is None


def test_no_print_is_like_another_and_both_ways_of_cutting_say_the_same():
    market, seen = Market(5), set()
    for at_ms in range(2_000):
        tick = market.tick(1_700_000_000_000 + at_ms)
        whole, parts = (
            [p for m in tick.messages(cut_up=cut_up) for p in json.loads(m.payload)["data"]] for cut_up in (False, True)
        )
        assert whole == parts
        said = {(tick.channel, *map(str, p.values())) for p in whole}
        assert not said & seen
        seen |= said


def _mark(kind: str, at_ms: int, connection: str = "a") -> Mark:
    return Mark(kind, at_ms, at_ms, connection, CHANNELS[:1])


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([(200, 900)], None),
        ([], "not told"),
        ([(200, 800)], "not told"),
        ([(200, 950)], "but it was"),
        ([(100, 900)], "but it was"),
        ([(200, 900), (400, 400)], "an empty gap"),
    ],
)
def test_a_gap_that_is_not_told_or_told_wrongly_is_a_problem(told, problem):
    marks = [_mark("up", 100), _mark("down", 200), _mark("up", 900, "b"), _mark("alive", 3_000, "b")]
    values = [{"from": a, "to": b, "channels": [CHANNELS[0]], "why": ""} for a, b in told]
    problems = gap_problems(marks, 2_000, values)
    assert [problem in p for p in problems] == [True] if problem else problems == []


@pytest.mark.parametrize(
    ("status", "blows", "log", "broker_was_hit", "right"),
    [
        (-9, ["kill"], "", False, True),
        (-9, [], "", False, False),
        (0, ["stop"], "", False, True),
        (0, [], "", False, False),
        (1, [], "no Kafka broker answers", True, True),
        (1, [], "no Kafka broker answers", False, False),
        (1, [], "producer.started no Kafka broker answers", True, False),
        (1, ["stop"], "5 records were not published", True, True),
        (1, [], "5 records were not published", True, False),
        (1, ["cut"], "the feed refused the API key", False, False),
    ],
)
def test_a_producer_ends_when_told_to_and_never_by_itself(status, blows, log, broker_was_hit, right):
    assert judge_producer(status, blows, log, broker_was_hit)[1] is right
