"""Whatever happens to broker, disk and process: each partition gets its entries once and in order, or misses the end.

The world here is the real buffer, backlog, outbox and spool around a Kafka of lists. A machine of steps drives it.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from producer.backlog import Backlog
from producer.buffer import Buffer
from producer.entries import DeadLetterEntry, Entry, FrameEntry, MarkEntry
from producer.outbox import Outbox, Place
from producer.protocol import RawKind
from producer.published import Published
from producer.spool_folder import SpoolFolder
from producer.stats import Stats
from schemas.topics import HEADER_CONNECTION, HEADER_SEQUENCE, MARK_KEY

RAW = [("raw", 0), ("raw", 1), ("raw", 2)]
LETTERS = ("letters", 0)
PLACES = [*RAW, LETTERS]
BUFFER_BYTES = 16 * 1024
SPOOL_BYTES = 256 * 1024


def places(entry: Entry) -> list[Place]:
    if isinstance(entry, MarkEntry):
        return RAW
    return [LETTERS] if isinstance(entry, DeadLetterEntry) else [RAW[entry.channel[0] % 3]]


class Producer:
    """One process: what it holds is gone when it is killed."""

    def __init__(self, folder: Path, kafka: dict[Place, list[Entry]], connection: bytes) -> None:
        self.connection = connection
        self.kafka = kafka
        self.sequence = 0
        self.stats = Stats()
        self.buffer = Buffer(BUFFER_BYTES)
        self.outbox = Outbox(self.buffer.free)
        self.backlog = Backlog(self.buffer, self.outbox, places, self.stats)
        self.folder = SpoolFolder(folder, "p", "cluster", SPOOL_BYTES)
        self.in_flight: dict[Place, list[Entry]] = {}
        self.now_s = 0.0
        self._use(self.folder.take())

    def _use(self, spool) -> None:
        suspects = self.backlog.use(spool)
        published = Published(suspects)
        for place, entries in self.kafka.items():
            for entry in entries:
                if suspects.since_ms is not None and entry.at_ms >= suspects.since_ms:
                    if isinstance(entry, MarkEntry):
                        published.add(place, MARK_KEY, entry.payload, [])
                    else:
                        number = b"%d" % entry.sequence
                        headers = [(HEADER_CONNECTION, entry.connection), (HEADER_SEQUENCE, number)]
                        published.add(place, None, entry.payload, headers)
        self.backlog.compare_with(published)

    def adopt(self) -> None:
        if self.backlog.is_idle:
            found = self.folder.take_leftovers()
            if found is not None:
                self._use(found)

    def turn(self, stalled: bool) -> None:
        self.now_s += 0.4
        self.backlog.move(self.now_s, stalled=stalled)

    def send(self, entries_max: int) -> None:
        for place, waiting in self.outbox.ready():
            count = min(entries_max, len(waiting))
            self.in_flight[place] = list(waiting)[:count]
            self.outbox.send(place, count, sum(e.cost_bytes for e in self.in_flight[place]))

    def arrive(self, place: Place) -> None:
        """The broker has it; whether we learn of that is another matter."""
        self.kafka[place] += self.in_flight[place]

    def acknowledged(self, place: Place) -> None:
        del self.in_flight[place]
        self.outbox.acknowledge(place)

    def refused(self, place: Place) -> None:
        del self.in_flight[place]
        self.outbox.take_back(place)

    def end(self) -> None:
        """Let the files go, as the end of a process does."""
        if self.backlog.spool is not None:
            self.backlog.spool.close()


class Outages(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # in memory where there is such a folder: what the disk itself keeps is not the question here
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.kafka: dict[Place, list[Entry]] = defaultdict(list)
        self.put: dict[tuple[Place, bytes], list[bytes]] = defaultdict(
            list
        )  # what was received, by place and connection
        self.lossy: set[bytes] = set()  # connections whose end may be missing
        self.connections = 0
        self.clock_ms = 0
        self.producers: list[Producer] = []

    @initialize()
    def begin(self) -> None:
        self.start()

    def start(self) -> None:
        self.connections += 1
        self.producers.append(Producer(Path(self._folder.name), self.kafka, b"connection-%d" % self.connections))

    def producer(self, which: int) -> Producer:
        return self.producers[which % len(self.producers)]

    @rule(
        which=st.integers(0, 1),
        kinds=st.lists(st.sampled_from("abcmd"), min_size=1, max_size=25),
        size=st.sampled_from([0, 10, 600]),
        stalled=st.booleans(),
    )
    def receive(self, which: int, kinds: list[str], size: int, stalled: bool) -> None:
        producer = self.producer(which)
        for kind in kinds:
            self.clock_ms += 1
            self._receive(producer, kind, b"x" * size)
        producer.turn(stalled)

    def _receive(self, producer: Producer, kind: str, filling: bytes) -> None:
        connection, number, at_ms = producer.connection, producer.sequence, self.clock_ms
        payload = b"%s/%d %s" % (connection, number, filling)
        entry: Entry
        if kind == "m":  # some of them equal
            entry = MarkEntry(b"%s mark at %d" % (connection, at_ms // 4), at_ms)
        elif kind == "d":
            entry = DeadLetterEntry("r", "", payload, at_ms, connection, number)
        else:
            entry = FrameEntry(RawKind.TRADES, kind.encode(), payload, at_ms, connection, number)
        if producer.buffer.put(entry):
            producer.sequence += kind != "m"
            for place in places(entry):
                self.put[place, connection].append(entry.payload)

    @rule(
        which=st.integers(0, 1),
        entries_max=st.integers(1, 8),
        answers=st.lists(st.sampled_from(["acknowledged", "refused", "none"]), min_size=4, max_size=4),
        stalled=st.booleans(),
    )
    def exchange(self, which: int, entries_max: int, answers: list[str], stalled: bool) -> None:
        producer = self.producer(which)
        producer.send(entries_max)
        for place, answer in zip(PLACES, answers, strict=True):
            if place in producer.in_flight and answer == "acknowledged":
                producer.arrive(place)
                producer.acknowledged(place)
            elif place in producer.in_flight and answer == "refused":
                producer.refused(place)
        producer.turn(stalled)

    @precondition(lambda self: len(self.producers) < 2)
    @rule()
    def another(self) -> None:
        self.start()

    @rule(which=st.integers(0, 1), arrived=st.sets(st.integers(0, 3)))
    def kill(self, which: int, arrived: set[int]) -> None:
        producer = self._end(which, arrived)
        self.lossy.add(producer.connection)

    @rule(which=st.integers(0, 1), arrived=st.sets(st.integers(0, 3)))
    def stop(self, which: int, arrived: set[int]) -> None:
        producer = self.producer(which)
        producer.backlog.keep()
        if producer.backlog.in_memory_only:
            self.lossy.add(producer.connection)
        self._end(which, arrived)

    def _end(self, which: int, arrived: set[int]) -> Producer:
        producer = self.producer(which)
        for index in arrived:
            if PLACES[index] in producer.in_flight:
                producer.arrive(PLACES[index])
        producer.end()
        self.producers.remove(producer)
        self.start()
        return producer

    @invariant()
    def the_bounds_hold(self) -> None:
        for producer in self.producers:
            # beside the bound: twice what is read back at once, a row at least
            assert 0 <= producer.buffer.used_bytes <= BUFFER_BYTES + 2 * (BUFFER_BYTES // 16 + 1_000)
            assert producer.stats.spool_bytes <= SPOOL_BYTES

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.check()
        finally:
            for producer in self.producers:
                producer.end()
            self._folder.cleanup()

    def come_to_rest(self) -> None:
        """The broker is well again: everything arrives, what dead producers left too."""
        for _ in range(2_000):
            for producer in self.producers:
                producer.adopt()
                producer.turn(stalled=False)
                producer.send(1_000)
                for place in list(producer.in_flight):
                    producer.arrive(place)
                    producer.acknowledged(place)
            if all(p.backlog.is_idle and not len(p.buffer) for p in self.producers) and not self._leftovers():
                return
        raise AssertionError("it does not come to rest")

    def _leftovers(self) -> bool:
        found = self.producers[0].folder.take_leftovers()
        if found is not None:
            found.close()
        return found is not None

    def check(self) -> None:
        assert [producer.buffer.used_bytes for producer in self.producers] == [0] * len(self.producers)
        for (place, connection), expected in self.put.items():
            arrived = [
                e.payload for e in self.kafka[place] if e.payload.startswith((connection + b"/", connection + b" "))
            ]
            if connection in self.lossy:
                assert arrived == expected[: len(arrived)]
            else:
                assert arrived == expected


TestOutages = Outages.TestCase
TestOutages.settings = settings(max_examples=1000, stateful_step_count=30, deadline=None)
