"""What is kept, what is dropped, and how the marks tell: one character a frame, in the order of the buffer."""

import json
from collections.abc import Sequence
from importlib import resources

from hypothesis import given
from hypothesis import strategies as st

from producer.buffer import Buffer
from producer.entries import ENTRY_OVERHEAD_BYTES, DeadLetterEntry, FrameEntry, MarkEntry
from producer.intake import Intake
from producer.protocol import Notice, Placed, RawKind, Unplaced
from producer.stats import FeedStats

CONNECTION = "6f1c9c1e-0000-4000-8000-000000000000"


class Feed:
    """An intake with a buffer for `slots` entries and a clock that each event moves by 1 ms."""

    def __init__(self, slots: int, mark_every_ms: int = 1_000, group: str | None = None) -> None:
        self.size = 300 - ENTRY_OVERHEAD_BYTES
        self.buffer = Buffer(slots * 300)
        self.stats = FeedStats()
        self.intake = Intake(
            *(CONNECTION, ["liquidationOrders"], self.buffer, self.stats),
            mark_every_ms=mark_every_ms,
            frame_bytes_max=100,
            group=group,
        )
        self.now_ms = 100

    def frames(self, count: int, size: int | None = None) -> None:
        for _ in range(count):
            self.now_ms += 1
            payload = b"x" * (self.size if size is None else size)
            self.intake.take(Placed(RawKind.LIQUIDATIONS, b"liquidationOrders", payload), self.now_ms)

    def tick(self, now_ms: int, heard_at_ms: int, channels: Sequence[str] = ("liquidationOrders",)) -> None:
        self.intake.tick(now_ms, heard_at_ms, channels)

    def publish(self) -> list[str]:
        """Take and free everything; return it as `f<sequence>`, `up@at`, `alive<heard`, `down<heard`."""
        shown = []
        for entry in self.buffer.take(10_000):
            self.buffer.free(entry.cost_bytes)
            if isinstance(entry, MarkEntry):
                mark = json.loads(entry.payload)
                assert entry.at_ms == mark["at_ms"]
                shown.append(f"up@{mark['at_ms']}" if mark["kind"] == "up" else f"{mark['kind']}<{mark['heard_at_ms']}")
            else:
                shown.append(f"{'f' if isinstance(entry, FrameEntry) else 'd'}{entry.sequence}@{entry.at_ms}")
        return shown


def test_a_mark_has_exactly_the_fields_of_its_schema():
    feed = Feed(10)
    feed.intake.subscribed(100)
    (entry,) = feed.buffer.take(1)
    schema = json.loads(resources.files("schemas").joinpath("avro/feed_mark.avsc").read_text())
    mark = json.loads(entry.payload)
    assert list(mark) == [field["name"] for field in schema["fields"]]
    assert mark == {
        "kind": "up",
        "at_ms": 100,
        "heard_at_ms": 100,
        "connection": CONNECTION,
        "channels": ["liquidationOrders"],
    }


def test_a_connection_that_is_kept_up_with_is_one_stretch():
    feed = Feed(10)
    feed.intake.subscribed(100)
    feed.frames(2)
    feed.intake.ended(110, 105, "the end")
    assert feed.publish() == ["up@100", "f0@101", "f1@102", "down<105"]


def test_alive_is_written_in_its_rhythm_and_says_when_anything_was_heard():
    feed = Feed(30, mark_every_ms=10)
    feed.intake.subscribed(100)
    for now_ms in range(104, 150, 4):
        feed.tick(now_ms, heard_at_ms=now_ms - 3)
    assert feed.publish() == ["up@100", "alive<109", "alive<117", "alive<129", "alive<137"]


def test_marks_name_their_group_and_a_down_says_why():
    feed = Feed(5, mark_every_ms=10, group="pair-1")
    feed.intake.subscribed(100)
    feed.frames(1)
    feed.tick(111, 111)
    feed.frames(4)
    marks = [entry for entry in feed.buffer.take(100) if isinstance(entry, MarkEntry)]
    group = ("group", b"pair-1")
    assert [mark.headers for mark in marks] == [(group,), (group,), (group, ("why", b"the buffer was full"))]


def test_why_is_one_bounded_line_whatever_the_feed_said():
    feed = Feed(5)
    feed.intake.subscribed(100)
    feed.intake.ended(110, 110, "closed (1000 a\n\x00b\ud800 " + "c" * 1_000)
    ((name, why),) = feed.buffer.take(2)[1].headers
    assert name == "why"
    assert why.decode().startswith("closed (1000 a b c")
    assert len(why) == 200


def test_a_frame_too_long_says_so():
    feed = Feed(20)
    feed.intake.subscribed(100)
    feed.frames(1, size=101)
    assert feed.buffer.take(2)[1].headers == (("why", b"a frame of more than 100 bytes"),)


def test_overflow_ends_the_stretch_at_the_last_kept_frame_and_room_begins_another():
    feed = Feed(5)
    feed.intake.subscribed(100)
    feed.frames(7)
    kept = feed.publish()
    assert kept == ["up@100", "f0@101", "f1@102", "f2@103", "down<103"]
    feed.frames(1)
    assert feed.publish() == ["up@108", "f7@108"]
    assert feed.stats.dropped == {"buffer-full": 4}
    assert feed.stats.frames == 8


def test_room_on_a_quiet_feed_is_noticed_by_a_tick():
    feed = Feed(5)
    feed.intake.subscribed(100)
    feed.frames(9)
    feed.tick(150, 150)
    assert "up" not in "".join(feed.publish()[1:])
    feed.tick(160, 160)
    assert feed.publish() == ["up@160"]


def test_an_alive_that_does_not_fit_ends_the_stretch():
    feed = Feed(4, mark_every_ms=10)
    feed.intake.subscribed(100)
    feed.frames(2)
    feed.tick(120, heard_at_ms=119)
    assert feed.publish() == ["up@100", "f0@101", "f1@102", "down<119"]


def test_a_connection_lost_while_frames_are_dropped_is_not_ended_twice():
    feed = Feed(3)
    feed.intake.subscribed(100)
    feed.frames(5)
    feed.intake.ended(120, 120, "the end")
    assert [entry for entry in feed.publish() if entry.startswith("down")] == ["down<101"]


def test_a_frame_too_long_for_a_broker_is_a_gap_of_its_own():
    feed = Feed(20)
    feed.intake.subscribed(100)
    feed.frames(1)
    feed.frames(1, size=101)
    feed.frames(1)
    assert feed.publish() == ["up@100", "f0@101", "down<101", "up@103", "f2@103"]
    assert feed.stats.dropped == {"too-long": 1}


def test_a_subscription_without_room_is_not_said_to_be_up():
    feed = Feed(2)
    feed.buffer.put(FrameEntry(RawKind.TRADES, b"c", b"x" * 300, 0, b"u", 0))
    feed.intake.subscribed(100)
    feed.frames(1)
    assert len(feed.buffer) == 1
    assert feed.stats.dropped == {"buffer-full": 1}


def test_dead_letters_share_the_numbers_and_notices_do_not():
    feed = Feed(20)
    feed.intake.subscribed(100)
    feed.frames(1)
    feed.intake.take(Unplaced("malformed", "not JSON", b"?"), 102)
    feed.intake.pass_over(Notice("{}"))
    feed.intake.take(Placed(RawKind.TRADES, b"c", b"{}"), 103)
    entries = feed.buffer.take(10)
    assert [(type(entry), getattr(entry, "sequence", None)) for entry in entries[1:]] == [
        (FrameEntry, 0),
        (DeadLetterEntry, 1),
        (FrameEntry, 2),
    ]
    assert feed.stats.dead_letters == {"malformed": 1}
    assert feed.stats.notices == 1


@given(st.integers(2, 12), st.lists(st.sampled_from(["frame", "publish", "tick", "long"]), max_size=120))
def test_every_number_is_kept_or_stands_in_a_gap_that_marks_show(slots: int, steps: list[str]):
    feed = Feed(slots, mark_every_ms=3)
    feed.intake.subscribed(100)
    shown: list[str] = []
    for step in [*steps, "publish", "tick", "publish"]:
        if step == "frame":
            feed.frames(1)
        elif step == "long":
            feed.frames(1, size=101)
        elif step == "publish":
            shown += feed.publish()
        else:
            feed.now_ms += 1
            feed.tick(feed.now_ms, feed.now_ms)
    shown = [entry for entry in shown if not entry.startswith("alive")]
    expected = 0
    covered = False
    after_gap = False
    for entry in shown:
        if entry.startswith("up"):
            assert not covered
            covered, after_gap = True, True
        elif entry.startswith("down"):
            assert covered
            covered = False
        else:
            assert covered
            number = int(entry[1:].partition("@")[0])
            assert number == expected or (after_gap and number > expected)
            expected, after_gap = number + 1, False
    kept = sum(entry.startswith("f") for entry in shown)
    assert kept + feed.stats.dropped.total() == feed.stats.frames
