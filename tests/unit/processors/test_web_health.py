from processors.views.board import Board
from processors.views.health import CONNECTIONS_MAX, PartitionState, group_health
from processors.windows import window_sizes
from schemas.durations import parse_duration
from tests.unit.processors.records import NOW_MS, TOPIC, TRADES, frame, item, mark, pipeline

ONE, TWO = "http://127.0.0.1:1", "http://127.0.0.1:2"


def board_of(*records):
    step = pipeline()
    step.process(records)
    board = Board(window_sizes((parse_duration("1m"),)))
    board.replace((TOPIC, 0), {key: row for key, row in step.take().rows.items() if row is not None})
    return board


def state(partition=0, owner=ONE):
    return PartitionState(TOPIC, partition, owner, recovering=False, lag=0, stale_ms=5)


def test_members_are_those_that_partitions_were_assigned_to():
    health = group_health(board_of(), [state(2, TWO), state(0), state(1), state(3, None)], NOW_MS)
    assert health["members"] == [
        {"url": ONE, "sources": [(TOPIC, 0), (TOPIC, 1)]},
        {"url": TWO, "sources": [(TOPIC, 2)]},
    ]
    assert [p["owner"] for p in health["partitions"]] == [ONE, ONE, TWO, None]


def test_a_partition_without_a_watermark_has_none():
    assert group_health(board_of(), [state()], NOW_MS)["partitions"][0]["watermark_ms"] is None
    health = group_health(board_of(frame(item(NOW_MS))), [state()], NOW_MS)
    assert health["partitions"][0]["watermark_ms"] == NOW_MS - 5_000


def test_a_connection_is_up_while_its_marks_come():
    marks = [mark("up", NOW_MS), mark("alive", NOW_MS + 1_000, channels=[TRADES, "liquidationOrders"])]
    (feed,) = group_health(board_of(*marks), [state()], NOW_MS + 2_000)["feed"]
    assert feed == {
        "connection": "c1", "up": True, "heard_at_ms": NOW_MS + 1_000, "channels": [TRADES, "liquidationOrders"],
    }  # fmt: skip
    (silent,) = group_health(board_of(*marks), [state()], NOW_MS + 60_000)["feed"]
    assert not silent["up"]
    (down,) = group_health(board_of(*marks, mark("down", NOW_MS + 1_500)), [state()], NOW_MS + 2_000)["feed"]
    assert not down["up"]


def test_of_many_connections_none_is_left_out_that_was_the_last_to_hear_a_channel():
    dead = mark("up", NOW_MS - 20_000, connection="dead", channels=[TRADES])
    follower = mark("up", NOW_MS - 9_000, connection="older")
    crowd = [mark("up", NOW_MS, connection=f"c{number}") for number in range(CONNECTIONS_MAX)]
    feed = group_health(board_of(dead, follower, *crowd), [state()], NOW_MS)["feed"]
    assert [one["connection"] for one in feed[CONNECTIONS_MAX:]] == ["dead"]
    assert not feed[-1]["up"]


def test_counts_are_sums_of_the_state_and_rejected_frames_are_counted_by_reason():
    board = board_of(frame(item(NOW_MS)), frame(item(NOW_MS), item(NOW_MS, side=7)), frame(item(NOW_MS - 99_000)))
    counts = group_health(board, [state(), state(1)], NOW_MS)["counts"]
    assert (counts["frames"], counts["records"], counts["late"]) == (3, 4, 1)
    assert counts["rejected"] == {"bad-record": 1}
    assert counts["finals"] == 0
