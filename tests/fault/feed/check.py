"""After a feed storm: what stands in the raw topics against what the feed knows that it sent. Pure.

covered means present     what was sent in a covered stretch, and had been read before its end, stands there
present means covered     what was heard is covered, but for what blows explain
prompt                    a dead connection is noticed, and another is tried for, as soon as a producer should
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from schemas.topics import Topics
from tests.fault.expected import RawRow
from tests.fault.feed.journal import Attempt, Connection, Fate, Journal, Sent
from tests.fault.feed.settings import GROUP, FeedStormSettings, Patience
from tests.fault.feed.stood import Kept, Stood, sort_out
from tests.fault.frames import LIQUIDATIONS, partition_of
from tests.fault.gaps import Intervals, less
from tests.fault.settings import PARTITIONS
from tests.fault.sources import Source

#: How late a process may be on a machine that has nothing else to do, and how much more than the feed it may be late.
SLACK_MS = 2_000
LAGS = 3


@dataclass(frozen=True)
class Lived:
    """One process of a producer; UTC ms. What a killed one had not published yet is lost, and its last mark with it."""

    slot: int
    began_ms: int
    ended_ms: int
    killed: bool


@dataclass(frozen=True)
class Happened:
    """What happened to producers and brokers: from, to, UTC ms."""

    lives: Sequence[Lived] = ()
    halts: Sequence[tuple[int, int, int]] = ()  # slot, from, to: frozen, or cut off from everything
    broker_hits: Intervals = field(default_factory=list)
    slack_ms: int = SLACK_MS

    def life_of(self, connection: Connection) -> Lived | None:
        """Return the process that a connection belonged to."""
        return next(
            (
                life
                for life in self.lives
                if life.slot == connection.slot and life.began_ms <= connection.opened_ms <= life.ended_ms
            ),
            None,
        )

    def halted_ms(self, slot: int, from_ms: int) -> int:
        """Return for how long in all a producer stood still after that, or the network to it."""
        return sum(b - max(a, from_ms) for of, a, b in self.halts if of == slot and b > from_ms)

    def broker_was_hit(self, from_ms: int, to_ms: int) -> bool:
        """Whether a broker was away, or just back, at some time in between."""
        return any(a < to_ms and from_ms < b + 10_000 for a, b in self.broker_hits)


@dataclass(frozen=True)
class Evidence:
    """All that is known of a storm once it is over; `rows` are what stands in the raw topics and the dead letters."""

    rows: Mapping[Source, Sequence[RawRow]]
    journal: Journal
    happened: Happened
    settings: FeedStormSettings
    topics: Topics

    def stood(self) -> Stood:
        """Return the rows by the connections that brought them."""
        return sort_out(self.rows, self.journal, self.topics)

    def problems(self) -> list[str]:
        """Return all that is wrong."""
        journal, happened, settings, stood = self.journal, self.happened, self.settings, self.stood()
        return [
            *stood.problems,
            *each_once_and_in_order(stood),
            *marks_as_they_should_be(stood, settings),
            *covered_means_present(journal, stood, happened, self.topics),
            *covered_means_heard(journal, stood, happened),
            *present_means_covered(journal, stood, happened, settings),
            *noticed_in_time(journal, happened, settings.patience),
            *tried_in_time(journal, happened, settings),
        ]


def each_once_and_in_order(stood: Stood) -> Iterator[str]:
    """In a partition a connection's numbers and times ascend; none stands twice."""
    for number, of_connection in stood.kept.items():
        for source, kept in of_connection.items():
            ordered = kept if source != stood.letters else sorted(kept, key=lambda one: one.place)
            for before, after in pairwise(ordered):
                if after.place <= before.place:
                    yield f"{source}: number {after.place} of connection {number} comes after {before.place}"
                elif after.row.timestamp < before.row.timestamp:
                    yield f"{source}: number {after.place} of connection {number} came before the one before it"


def marks_as_they_should_be(stood: Stood, settings: FeedStormSettings) -> Iterator[str]:
    """Each partition has the same marks of a connection, but for a tail that a killed producer did not publish."""
    connections = {uuid for of_source in stood.marks.values() for uuid in of_source}
    for uuid in sorted(connections):
        every = [of_source.get(uuid, []) for of_source in stood.marks.values()]
        longest = max(every, key=len)
        for source, of_source in stood.marks.items():
            if of_source.get(uuid, []) != longest[: len(of_source.get(uuid, []))]:
                yield f"{source}: the marks of {uuid} are others than elsewhere"
        for before, after in pairwise(longest):
            if after.mark.at_ms < before.mark.at_ms or after == before:
                yield f"the marks of {uuid}: {after} after {before}"
        for said in longest:
            if said.mark.kind == "down" and not said.why:
                yield f"a mark says down without saying why: {said.mark}"
            if said.mark.kind != "down" and said.why is not None:
                yield f"a mark says why it is {said.mark.kind}: {said.why}"
            if said.group != (GROUP if settings.redundant else None):
                yield f"a mark is of group {said.group}: {said.mark}"
            if said.mark.heard_at_ms > said.mark.at_ms:
                yield f"a mark has heard what comes after it: {said.mark}"


def covered_means_present(journal: Journal, stood: Stood, happened: Happened, topics: Topics) -> Iterator[str]:
    """What a partition's marks cover stands in it; what they all cover, and is no frame, in the dead letters."""
    sources = [(topic, number) for topic in topics.raw for number in range(PARTITIONS)]
    for connection in journal.connections:
        number, life = connection.number, happened.life_of(connection)
        for source in sources:
            expected = [n for n, sent in enumerate(connection.sent) if _source_of(sent, topics) == source]
            channels = {connection.sent[place].channel for place in expected}
            spans = {channel: [stood.spans(number, source, channel)] for channel in channels}
            yield from _missing(connection, expected, stood.kept[number].get(source, []), spans, source)
        if life is not None and not life.killed:  # or some may be lost that a mark elsewhere was quicker than
            letters = [n for n, sent in enumerate(connection.sent) if sent.fate is Fate.LETTER]
            kept = sorted(stood.kept[number].get(stood.letters, []), key=lambda one: one.place)
            of_all = {"": [stood.spans(number, source, LIQUIDATIONS) for source in sources]}
            yield from _missing(connection, letters, kept, of_all, stood.letters)


def _missing(
    connection: Connection,
    expected: Sequence[int],
    kept: Sequence[Kept],
    spans: Mapping[str, Sequence[Intervals]],
    source: Source,
) -> Iterator[str]:
    """Yield what is expected and not kept though by all of its channel's `spans` it was heard.

    It was read after it had been sent, and before the next that is kept; or before the feed knew that it was.
    """
    came_ms = {one.place: one.row.timestamp for one in kept}
    later_ms: int | None = None  # when the next that is kept came
    for place in reversed(expected):
        if place in came_ms:
            later_ms = came_ms[place]
            continue
        sent = connection.sent[place]
        known_ms = [ms for ms in (connection.read_by_ms(place), later_ms) if ms is not None]
        if known_ms and all(any(a <= sent.at_ms and min(known_ms) < b for a, b in of) for of in spans[sent.channel]):
            yield (
                f"{source}: number {place} of connection {connection.number}, sent at {sent.at_ms} and read by "
                f"{min(known_ms)}, is covered and not there: {sent.payload[:60]!r}"
            )


def covered_means_heard(journal: Journal, stood: Stood, happened: Happened) -> Iterator[str]:
    """No mark covers time before a connection was opened, or after the last that can have come on it."""
    for connection in journal.connections:
        last_ms = min(ms for ms in (connection.mute_ms, connection.ended_ms, 1 << 60) if ms is not None)
        last_ms += happened.halted_ms(connection.slot, last_ms) + happened.slack_ms
        for source in stood.marks:
            for a, b in stood.spans(connection.number, source, LIQUIDATIONS):
                if a < connection.opened_ms or b > last_ms:
                    yield (
                        f"{source}: connection {connection.number} is covered in [{a}, {b}), but it was opened at "
                        f"{connection.opened_ms}, mute from {connection.mute_ms} on, over at {connection.ended_ms}"
                    )


def present_means_covered(
    journal: Journal, stood: Stood, happened: Happened, settings: FeedStormSettings
) -> Iterator[str]:
    """A connection is covered from its subscription to the last that was surely heard on it."""
    for connection in journal.connections:
        life = happened.life_of(connection)
        if connection.subscribed_ms is None or connection.heard_ms is None or life is None:
            continue
        to_ms = connection.heard_ms
        if life.killed:
            if happened.broker_was_hit(connection.opened_ms, life.ended_ms):
                continue  # its marks may never have come so far
            to_ms = min(to_ms, life.ended_ms - settings.mark_every_ms - happened.slack_ms)
        from_ms = connection.subscribed_ms + settings.mark_every_ms
        for source in stood.marks:
            uncovered = less([(from_ms, to_ms)], stood.spans(connection.number, source, LIQUIDATIONS))
            for a, b in uncovered if from_ms < to_ms else ():
                if not _is_explained(a, b, connection, happened, settings):
                    yield f"{source}: connection {connection.number} was up in [{a}, {b}), and that is not covered"


def _is_explained(a: int, b: int, connection: Connection, happened: Happened, settings: FeedStormSettings) -> bool:
    """Whether a blow explains that nothing was kept: a frame too long for a record, or no broker for long."""
    if not settings.has("spool") and any(
        start < b and a < end + happened.slack_ms for start, end in happened.broker_hits
    ):
        return True
    return b - a <= happened.slack_ms and any(
        sent.fate is Fate.LOST and a - happened.slack_ms <= sent.at_ms <= b for sent in connection.sent
    )


def noticed_in_time(journal: Journal, happened: Happened, patience: Patience) -> Iterator[str]:
    """A connection that nothing is to be had from any more is given up in time."""
    for connection in journal.connections:
        if connection.doomed_ms is None:
            continue
        halted_ms = happened.halted_ms(connection.slot, connection.doomed_ms)
        by_ms = connection.doomed_ms + patience.notice_ms + halted_ms + happened.slack_ms
        if connection.ended_ms is None or connection.ended_ms > by_ms:
            yield (
                f"connection {connection.number} was doomed from {connection.doomed_ms} on ({connection.blows}), "
                f"and given up only at {connection.ended_ms}"
            )


def tried_in_time(journal: Journal, happened: Happened, settings: FeedStormSettings) -> Iterator[str]:
    """After a connection or a refusal the next attempt comes within the backoff, and not before Retry-After is over."""
    for slot in range(settings.producers):
        for life in (one for one in happened.lives if one.slot == slot):
            attempts = [a for a in journal.attempts if a.slot == slot and life.began_ms <= a.at_ms <= life.ended_ms]
            attempts.sort()
            limit_ms = 0
            for before, after in pairwise(attempts):
                ended_ms, lasted_ms = before.ended_ms, 0
                if before.connection is not None:
                    connection = journal.connections[before.connection]
                    if connection.ended_ms is None:
                        yield f"connection {before.connection} was still up when another was tried for"
                        continue
                    ended_ms = connection.ended_ms
                    lasted_ms = min(ended_ms, connection.mute_ms or ended_ms) - before.ended_ms
                limit_ms = _next_limit_ms(limit_ms, lasted_ms, settings.patience)
                if settings.has("hold-off") and after.at_ms < ended_ms + before.hold_off_ms - 50:
                    yield f"producer {slot} came at {after.at_ms}, told at {ended_ms} to wait {before.hold_off_ms} ms"
                if _was_away(journal, happened, slot, ended_ms, after):
                    limit_ms = settings.patience.backoff_ms_max
                by_ms = ended_ms + max(limit_ms, before.hold_off_ms) + happened.slack_ms
                if after.at_ms > by_ms and not _was_away(journal, happened, slot, ended_ms, after):
                    yield f"producer {slot} lost its connection at {ended_ms}, and tried again only at {after.at_ms}"


def _next_limit_ms(limit_ms: int, lasted_ms: int, patience: Patience) -> int:
    if lasted_ms >= patience.healthy_after_ms:
        limit_ms = 0
    return min(limit_ms * 2 or patience.backoff_first_ms, patience.backoff_ms_max)


def _was_away(journal: Journal, happened: Happened, slot: int, from_ms: int, attempt: Attempt) -> bool:
    """Whether the producer could not try in between, or the feed not see that it did."""
    halts = [(a, b) for of, a, b in happened.halts if of == slot]
    return any(a <= attempt.at_ms and from_ms <= b + happened.slack_ms for a, b in (*halts, *journal.downs))


def tally(journal: Journal, stood: Stood) -> Counter[str]:
    """Return how much there was of everything."""
    kept: Counter[str] = Counter(
        "letters kept" if source == stood.letters else "frames kept"
        for of_connection in stood.kept.values()
        for source, of_source in of_connection.items()
        for _ in of_source
    )
    fates: Counter[str] = Counter(
        {Fate.FRAME: "frames sent", Fate.LETTER: "letters sent", Fate.LOST: "too long"}[sent.fate]
        for connection in journal.connections
        for sent in connection.sent
    )
    return kept + fates + Counter(connections=len(journal.connections), attempts=len(journal.attempts))


def _source_of(sent: Sent, topics: Topics) -> Source | None:
    if not sent.channel:
        return None
    topic = topics.raw_trades if "@" in sent.channel else topics.raw_liquidations
    return topic, partition_of(sent.channel.encode())
