"""Where entries wait, and what a broken disk costs. Order under any steps: tests/property/test_backlog.py."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from producer.backlog import Backlog
from producer.buffer import Buffer
from producer.entries import Entry, FrameEntry, MarkEntry
from producer.marks import Stretch
from producer.mending import Mender
from producer.outbox import Outbox, Place
from producer.protocol import RawKind
from producer.published import Published
from producer.spool_folder import SpoolFolder
from producer.stats import Stats

MIB = 1024 * 1024


class World:
    """A backlog whose partitions take what they are sent, when told to; the second is for the frames of `second`."""

    def __init__(self, folder: Path) -> None:
        self.stats = Stats()
        self.buffer = Buffer(MIB)
        self.outbox = Outbox(self.buffer.free)
        self.second = range(0)
        self.backlog = Backlog(self.buffer, self.outbox, self.places, self.stats)
        self.folder = SpoolFolder(folder, "p", "cluster", 8 * MIB)
        self.backlog.use(self.folder.take())
        self.backlog.compare_with(Published())
        self.count = 0

    def places(self, entry: Entry) -> list[Place]:
        return [("raw", 1 if isinstance(entry, FrameEntry) and entry.sequence in self.second else 0)]

    def receive(self, count: int, size: int = 2_000) -> None:
        for _ in range(count):
            frame = FrameEntry(RawKind.TRADES, b"c", b"x" * size, self.count, b"u", self.count)
            assert self.buffer.put(frame)
            self.count += 1

    def turn(self, *, stalled: bool = False) -> None:
        assert self.backlog.move(0.0, stalled=stalled)

    def publish(self) -> list[Entry]:
        """Take turns until nothing is left; return what the partition was sent."""
        published: list[Entry] = []
        while not self.backlog.is_idle or len(self.buffer):
            self.turn()
            for place, _ in self.outbox.ready():
                published += self.exchange(place)
        return published

    def exchange(self, place: Place) -> list[Entry]:
        """Send what waits for a partition, and have it acknowledged; return it."""
        waiting = dict(self.outbox.ready())[place]
        self.outbox.send(place, len(waiting), sum(entry.cost_bytes for entry in waiting))
        return self.outbox.acknowledge(place)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.backlog.close()


def sequences(entries: list[Entry]) -> list[int]:
    return [entry.sequence for entry in entries if isinstance(entry, FrameEntry)]


def test_a_broker_that_keeps_up_costs_no_disk(world):
    world.receive(100)
    assert sequences(world.publish()) == list(range(100))
    assert world.stats.spooled == 0


def test_memory_is_free_again_once_the_spool_is_in_use(world):
    world.receive(300)
    world.turn()
    assert world.buffer.used_bytes > 600_000
    world.turn(stalled=True)
    assert world.stats.spooled == 300
    assert world.backlog.in_memory_only == 0
    # what is back in memory, to be sent as soon as the broker takes it, is a sixteenth of the bound
    assert world.buffer.used_bytes <= MIB // 16
    world.receive(300)
    world.turn(stalled=True)
    assert world.stats.spooled == 600
    assert world.buffer.used_bytes <= MIB // 8
    assert sequences(world.publish()) == list(range(600))
    assert world.buffer.used_bytes == 0


def test_what_is_in_flight_when_the_spool_takes_over_is_suspected_by_the_next_start(world):
    world.receive(300)
    world.turn()
    place, waiting = world.outbox.ready()[0]
    world.outbox.send(place, 200, 200 * waiting[0].cost_bytes)
    world.turn(stalled=True)
    world.backlog.close()
    spool = world.folder.take()
    suspects = sequences(list(spool.suspects()))
    spool.close()
    assert set(range(200)) <= set(suspects)


def test_what_is_refused_after_the_spool_took_over_is_not_read_back_beside(world):
    world.second = range(90, 100)
    world.receive(100)
    world.turn()
    first, second = ("raw", 0), ("raw", 1)
    world.outbox.send(second, 10, sum(entry.cost_bytes for entry in dict(world.outbox.ready())[second]))
    world.turn(stalled=True)
    world.outbox.take_back(second)
    published = []
    while len(published) < 90:
        published += world.exchange(first)
        world.turn()
    assert sequences(published + world.publish()) == list(range(100))


def test_a_slow_broker_is_spooled_for_when_memory_is_nearly_full(world):
    world.receive(300)
    world.turn()
    world.turn()
    assert world.stats.spooled == 0
    while world.buffer.used_bytes < MIB // 4 * 3:
        world.receive(1)
    world.turn()
    assert world.stats.spooled == world.count > 300
    assert sequences(world.publish()) == list(range(world.count))


def test_rows_that_cannot_be_read_are_counted_and_the_rest_goes_on(world):
    stretch = Stretch("u", ["c"], 1_000)
    world.buffer.put(stretch.up(100))
    world.receive(300)
    world.turn(stalled=True)
    for _ in range(6):
        world.receive(300)
        world.turn(stalled=True)
    spool = world.backlog.spool
    assert spool is not None
    path = spool.path
    path.write_bytes(b"garbage" * (path.stat().st_size // 7))
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spool._db.execute("PRAGMA shrink_memory")
    with capture_logs() as logs:
        published = world.publish()
    assert [line["event"] for line in logs] == ["spool.unreadable", "spool.lost"]
    numbers = sequences(published)
    assert numbers == list(range(len(numbers)))
    assert world.stats.spool_lost >= world.count - len(numbers) > 0
    assert world.buffer.used_bytes == 0
    assert path.with_name("p-0.spool.unreadable-0").exists()
    world.buffer.put(stretch.alive(6_000))
    published += world.publish()
    marks = [entry for entry in published if isinstance(entry, MarkEntry)]
    assert shown(marks) == ["up 100<100 u", "up 6000<6000 u"]
    world.receive(10)
    world.turn()
    world.backlog.use(world.folder.take())  # a new one, with something in memory
    world.backlog.compare_with(Published())
    world.receive(10)
    world.turn(stalled=True)
    assert world.backlog.in_memory_only == 0
    assert sequences(world.publish()) == list(range(world.count - 20, world.count))


def shown(entries: list[MarkEntry]) -> list[str]:
    marks = [json.loads(entry.payload) for entry in entries]
    assert [mark["at_ms"] for mark in marks] == [entry.at_ms for entry in entries]
    return [f"{mark['kind']} {mark['at_ms']}<{mark['heard_at_ms']} {mark['connection']}" for mark in marks]


def test_after_a_loss_each_connection_begins_a_stretch_at_its_next_mark():
    mender = Mender()
    a, b, c = (Stretch(name, ["c"], 1_000) for name in "abc")
    for stretch in (a, b):
        stretch.up(100)
        stretch.heard(150)
    given = [a.alive(200), b.down(210, "it ended"), c.up(220), a.alive(300), a.down(310, "it ended")]
    assert shown([mended for mark in given for mended in mender.mended(mark)]) == [
        "up 200<200 a",
        "up 210<210 b",
        "down 210<150 b",
        "up 220<220 c",
        "alive 300<150 a",
        "down 310<150 a",
    ]
