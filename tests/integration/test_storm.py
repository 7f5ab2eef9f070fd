"""Storms short enough for every test run, and their control; `python -m tests.fault.storm` runs longer ones."""

import asyncio
import dataclasses
from collections import Counter

import pytest

from tests.fault.brokers import GivenBroker
from tests.fault.compare import Output, count_differences, differences, row_differences
from tests.fault.exits import judge
from tests.fault.plan import plan
from tests.fault.settings import BLOWS, StormSettings
from tests.fault.sources import Stream
from tests.fault.storm import storm
from tests.fault.takeover import takeover

STREAM = Stream("finals", 0, ("raw", 1))
A, B = Output(b"a", b"1", 1), Output(b"b", b"2", 2)


async def test_results_tables_and_offsets_are_exact_after_a_storm_of_kill_freeze_and_stop(broker, tmp_path):
    blows = ("kill", "freeze", "stop")
    settings = StormSettings(seconds=18, seed=5, rate=800, blows=blows)
    report = await storm(settings, tmp_path, GivenBroker(broker))
    assert report.passed, report.table()
    assert {*blows} <= report.blows.keys(), report.table()
    assert report.counts["finals"] > 500
    assert report.counts["late"] > 50
    assert report.counts["dead letters"] > 50


async def test_a_zombie_does_no_harm_but_for_one_without_fencing_which_is_found_out(broker, tmp_path):
    fenced = StormSettings(seconds=1, seed=3, rate=400, blows=())
    unfenced = dataclasses.replace(fenced, fencing=False, settle_seconds_max=15)
    report, control = await asyncio.gather(
        takeover(fenced, tmp_path / "fenced", GivenBroker(broker)),
        takeover(unfenced, tmp_path / "unfenced", GivenBroker(broker)),
    )
    assert report.passed, report.table()
    assert not control.passed
    assert control.counts["extra"] > 0, control.table()


def test_a_result_that_is_missing_or_there_twice_or_out_of_order_is_a_difference():
    assert differences({STREAM: [A, B]}, {STREAM: [A, B]}) == []
    for found, what in (([A], "1 missing"), ([A, B, B], "1 extra"), ([B, A], "out of order"), ([], "2 missing")):
        (line,) = differences({STREAM: [A, B]}, {STREAM: found})
        assert what in line
    assert count_differences({STREAM: [A]}, {STREAM: [B, B]}) == Counter(missing=1, extra=2)


def test_a_row_that_is_missing_extra_or_different_is_a_difference():
    assert row_differences({b"a": b"1"}, {b"a": b"1"}) == []
    lines = row_differences({b"a": b"1", b"b": b"1"}, {b"b": b"2", b"c": b"3"})
    assert [line.split(":")[0] for line in lines] == ["1 rows missing", "1 rows extra", "1 rows different"]


@pytest.mark.parametrize(
    ("status", "blows", "log", "right"),
    [
        (-9, ["kill"], "", True),
        (-9, [], "", False),
        (0, ["stop"], "", True),
        (0, [], "", False),
        (70, [], "t level=critical event=engine.crashed what=x error=None remedy=y\n", True),
        (70, [], "", False),
        (70, [], "t level=critical a\nt level=critical b\n", False),
        (1, ["kill"], "t level=critical a\n", False),
        (-11, ["freeze"], "", False),
    ],
)
def test_a_worker_may_end_by_our_blow_or_when_told_to_or_with_one_critical_line_and_status_70(
    status, blows, log, right
):
    assert judge(status, blows, log, broker_was_hit=False)[1] is right


def test_a_seed_decides_the_blows_and_every_kind_comes():
    assert plan(7, 600, BLOWS) == plan(7, 600, BLOWS) != plan(8, 600, BLOWS)
    assert {blow.kind for blow in plan(7, 600, BLOWS)} == {*BLOWS}
