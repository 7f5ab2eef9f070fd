"""Two connections of one redundant group give what one connection that heard all of it would give.

The feed is made up here, print by print, so what each connection heard is known; nothing of the pipeline is replaced.

    prints        1  2  3  4  5  6  7  8
    connection a  1  2  3  4 (killed, 3 and 4 never published)
    connection b     2  3  4  5  6  7  8      later, or much later, or earlier
    counted       1  2  3  4  5  6  7  8
"""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.engine.step import Result
from processors.pipeline import PartitionPipeline
from schemas.codec import decode
from schemas.topics import HEADER_CONNECTION, HEADER_GROUP
from tests.unit.processors.records import NOW_MS, Raw, frame, item, mark, pipeline

#: Nothing is late in these tests: the connections may be this far apart.
LAG_MS_MAX = 30_000
PATIENT = {"grace_ms": 200_000, "mark_delay_ms": 200_000}


class Heard(NamedTuple):
    """What one connection published: [(when it was published, record)], in its order."""

    connection: str
    published: list[tuple[int, Raw]]


def with_headers(record: Raw, **headers: str) -> Raw:
    record.headers = tuple((name, text.encode()) for name, text in headers.items())
    return record


def connection(name: str, prints: list[dict], up_ms: int, down_ms: int, *, lag_ms: int, lost: int, group: str) -> Heard:
    """Return the marks and frames of a connection that was up in [up_ms, down_ms), and of which `lost` were lost."""
    received = [(p["time"] + 5, with_headers(frame(p), **{HEADER_CONNECTION: name})) for p in prints]
    frames = [(at_ms, record) for at_ms, record in received if up_ms <= at_ms < down_ms]
    marks = [
        (
            at_ms,
            with_headers(mark("up" if at_ms == up_ms else "alive", at_ms, connection=name), **{HEADER_GROUP: group}),
        )
        for at_ms in range(up_ms, down_ms, 1_000)
    ]
    both = sorted([*frames, *marks], key=lambda one: one[0])  # a mark after the frame of the same ms
    return Heard(name, [(at_ms + lag_ms, record) for at_ms, record in both[: len(both) - lost]])


def finals(step: PartitionPipeline, records: list[Raw], batch: int) -> list[Result]:
    """Return all finals, what is open at the end closed, in batches; the state is stored and taken up between them."""
    results, rows = [], {}
    for begin in range(0, len(records), batch):
        step.process(records[begin : begin + batch])
        changes = step.take()
        results += changes.results
        for key, row in changes.rows.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        step = pipeline("10s", **PATIENT)
        step.restore(rows)
    results += step.flush(0)
    return [result for result in results if ".1" in result.topic]


def numbers(results: list[Result]) -> list[tuple]:
    found = [decode("liquidation_volume", result.value) for result in results]
    return sorted(
        (
            f["window_start"],
            f["asset"],
            f["long_usd"],
            f["short_usd"],
            f["largest_usd"],
            f["long_count"],
            f["short_count"],
        )
        for f in found
    )


@st.composite
def feeds(draw: st.DrawFn) -> list[dict]:
    """Prints in the order of their times; some are alike to the last field."""
    time_ms, prints = NOW_MS, []
    for _ in range(draw(st.integers(1, 30))):
        time_ms += draw(st.sampled_from((0, 1, 400, 2_000, 7_000)))
        one = item(time_ms, draw(st.sampled_from((1.0, 2.0))), draw(st.sampled_from((1, 2))), asset="BTC")
        prints += [one] * draw(st.sampled_from((1, 1, 1, 2, 3)))
    return prints


def interleaved(heard: list[Heard]) -> list[Raw]:
    """Return all in the order they were published, with offsets."""
    every = [(at_ms, number, record) for number, one in enumerate(heard) for at_ms, record in one.published]
    every.sort(key=by_time)  # stable: a connection's records stay in order
    for offset, (_, _, record) in enumerate(every):
        record.offset = offset
    return [record for _, _, record in every]


def by_time(one: tuple[int, int, Raw]) -> tuple[int, int]:
    return one[:2]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_every_print_counts_once_however_the_connections_come_and_go(data: st.DataObject) -> None:
    prints = data.draw(feeds())
    end_ms = prints[-1]["time"] + 10_000
    killed_ms = data.draw(st.integers(NOW_MS - 1_000, end_ms))
    joined_ms = data.draw(st.integers(NOW_MS - 1_000, killed_ms))
    lags = st.sampled_from((0, 3, 700, LAG_MS_MAX))
    heard = [
        connection("a", prints, NOW_MS - 2_000, killed_ms, lag_ms=data.draw(lags), lost=0, group="g"),
        connection("b", prints, joined_ms, end_ms, lag_ms=data.draw(lags), lost=0, group="g"),
        connection(
            "c", prints, joined_ms, end_ms, lag_ms=data.draw(lags), lost=data.draw(st.integers(0, 9)), group="g"
        ),
    ]
    alone = connection("a", prints, NOW_MS - 2_000, end_ms, lag_ms=0, lost=0, group="")
    wanted = numbers(finals(pipeline("10s", **PATIENT), interleaved([alone]), 1_000))
    for batch in (1, 7):
        assert numbers(finals(pipeline("10s", **PATIENT), interleaved(heard), batch)) == wanted


def both_hear(group_a: str, group_b: str, *, b_up_ms: int = NOW_MS, a_down: bool = False) -> int:
    """Return how many records count of one that two connections heard."""
    prints = [item(NOW_MS + 1_000)]
    records = [
        with_headers(mark("up", NOW_MS, connection="a"), **{HEADER_GROUP: group_a}),
        with_headers(frame(*prints), **{HEADER_CONNECTION: "a"}),
        *([mark("down", NOW_MS + 1_500, connection="a")] if a_down else []),
        with_headers(mark("up", b_up_ms, connection="b"), **{HEADER_GROUP: group_b}),
        with_headers(frame(*prints), **{HEADER_CONNECTION: "b"}),
    ]
    (final,) = numbers(finals(pipeline("10s", **PATIENT), records, 100))
    return final[-2]


@pytest.mark.parametrize(("groups", "count"), [(("g", "g"), 1), (("g", "h"), 2), (("", ""), 2), (("g", ""), 2)])
def test_only_connections_of_one_group_are_held_against_each_other(groups, count):
    assert both_hear(*groups) == count


def test_what_two_connections_heard_one_after_the_other_are_different_prints():
    assert both_hear("g", "g", b_up_ms=NOW_MS + 1_500, a_down=True) == 2
    assert both_hear("g", "g", b_up_ms=NOW_MS + 1_499, a_down=True) == 1


def test_what_was_heard_is_forgotten_with_the_last_window_it_falls_into():
    step = pipeline("10s", "1m", mark_delay_ms=0)
    step.process([with_headers(mark("up", NOW_MS), **{HEADER_GROUP: "g"})])
    step.process([with_headers(frame(item(NOW_MS + 1_000)), **{HEADER_CONNECTION: "c1"})])
    first = step.take().rows
    (key,) = [key for key in first if b"doubles" in key]
    step.process([mark("alive", NOW_MS + 59_999)])
    assert key not in step.take().rows
    step.process([mark("alive", NOW_MS + 61_000)])
    assert step.take().rows[key] is None


def test_a_liquidation_counts_once_though_the_connections_spell_it_differently():
    newer = {"baseAsset": "base_asset", "exName": "exchange", "volUsd": "volume_usd"}
    old = item(NOW_MS + 1_000)
    new = {newer.get(name, name): value for name, value in old.items()}
    records = [
        with_headers(mark("up", NOW_MS, connection="a"), **{HEADER_GROUP: "g"}),
        with_headers(mark("up", NOW_MS, connection="b", channels=["liquidation_orders"]), **{HEADER_GROUP: "g"}),
        with_headers(frame(old), **{HEADER_CONNECTION: "a"}),
        with_headers(frame(new, channel="liquidation_orders", received=NOW_MS), **{HEADER_CONNECTION: "b"}),
    ]
    (final,) = numbers(finals(pipeline("10s", **PATIENT), records, 100))
    assert final[-2] == 1
