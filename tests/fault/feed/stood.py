"""What producers left in the raw topics and the dead letters, sorted by the connections of the feed. Pure.

Which connection of the feed a producer's is, its frames tell: each bears the stamp of the one that it was sent on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas import topics as names
from schemas.topics import Topics
from tests.fault.expected import RawRow
from tests.fault.feed.journal import Connection, Fate, Journal, stamp_of
from tests.fault.frames import partition_of
from tests.fault.sources import Source
from tests.oracle import Mark, covered_spans, read_mark

#: A producer says `up` when it has asked for the channels, and the feed hears that so much later at most.
UP_MS_MAX = 5_000


class Kept(NamedTuple):
    """A message that stands in Kafka: what the feed sent as its `place`th on the connection."""

    row: RawRow
    place: int


class Said(NamedTuple):
    """A mark, and what its headers say."""

    mark: Mark
    group: str | None
    why: str | None


@dataclass
class Stood:
    """All that stands, by the connection's number in the feed; `uuids` are the producers' names for them."""

    kept: dict[int, dict[Source, list[Kept]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    marks: dict[Source, dict[str, list[Said]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    uuids: dict[int, str] = field(default_factory=dict)
    letters: Source = ("", 0)  # all dead letters count as one place
    problems: list[str] = field(default_factory=list)

    def spans(self, connection: int, source: Source, channel: str) -> list[tuple[int, int]]:
        """Return when, by the marks of this partition, the connection heard the channel."""
        said = self.marks[source].get(self.uuids.get(connection, ""), [])
        return covered_spans([one.mark for one in said], channel)


def sort_out(rows: Mapping[Source, Iterable[RawRow]], journal: Journal, topics: Topics) -> Stood:
    """Return what stands; where something was never sent, or not so, that is a problem."""
    stood = Stood(letters=(topics.dead_letters, 0))
    stood.marks.update({source: defaultdict(list) for source in rows if source[0] in topics.raw})
    for source, of_source in rows.items():
        for row in of_source:
            if source in stood.marks and row.key == names.MARK_KEY:
                _take_mark(stood, source, row)
            elif source in stood.marks or names.HEADER_SOURCE_TOPIC not in dict(row.headers):  # not the worker's
                _take_message(stood, source, row, journal, topics)
    _find_silent(stood, journal)
    return stood


def _take_mark(stood: Stood, source: Source, row: RawRow) -> None:
    mark, headers = read_mark(row.value), dict(row.headers)
    if row.timestamp != mark.at_ms:
        stood.problems.append(f"{_at(row)}: a mark of {mark.at_ms} stands under {row.timestamp}")
    group, why = (
        value.decode() if (value := headers.get(name)) is not None else None
        for name in (names.HEADER_GROUP, names.HEADER_WHY)
    )
    stood.marks[source][mark.connection].append(Said(mark, group, why))


def _take_message(stood: Stood, source: Source, row: RawRow, journal: Journal, topics: Topics) -> None:
    headers, number = dict(row.headers), stamp_of(row.value or b"")
    if number is None or number >= len(journal.connections):
        stood.problems.append(f"{_at(row)}: the feed never sent this: {(row.value or b'')[:80]!r}")
        return
    connection = journal.connections[number]
    uuid, place = headers[names.HEADER_CONNECTION].decode(), int(headers[names.HEADER_SEQUENCE])
    if stood.uuids.setdefault(number, uuid) != uuid:
        stood.problems.append(f"{_at(row)}: connection {number} has two names, {stood.uuids[number]} and {uuid}")
    problem = _why_wrong(connection, place, source, row, topics)
    if problem:
        stood.problems.append(f"{_at(row)}: number {place} of connection {number} {problem}")
        return
    where = source if source in stood.marks else stood.letters
    stood.kept[number][where].append(Kept(row, place))


def _why_wrong(connection: Connection, place: int, source: Source, row: RawRow, topics: Topics) -> str | None:
    """Return what is wrong with a message under its number, None if it is what the feed sent."""
    if not 0 <= place < len(connection.sent):
        return f"was never sent: it had {len(connection.sent)}"
    sent = connection.sent[place]
    if sent.payload != row.value:
        return f"is not what the feed sent: {(row.value or b'')[:80]!r} for {sent.payload[:80]!r}"
    if sent.fate is Fate.FRAME:
        topic = topics.raw_liquidations if "@" not in sent.channel else topics.raw_trades
        if (source, row.key) != ((topic, partition_of(sent.channel.encode())), sent.channel.encode()):
            return f"stands in {source} under {row.key!r}"
    elif sent.fate is Fate.LETTER and source[0] != topics.dead_letters:
        return f"is no frame, and stands in {source}"
    read_by_ms = connection.read_by_ms(place)
    if row.timestamp < sent.at_ms or (read_by_ms is not None and row.timestamp > read_by_ms):
        return f"is said to have come at {row.timestamp}: it was sent at {sent.at_ms} and read by {read_by_ms}"
    return None


def _find_silent(stood: Stood, journal: Journal) -> None:
    """Find by their times the connections of which nothing but marks stands."""
    first: dict[str, int] = {}
    for of_source in stood.marks.values():
        for uuid, said in of_source.items():
            first[uuid] = min(first.get(uuid, said[0].mark.at_ms), said[0].mark.at_ms)
    for uuid in sorted(first.keys() - set(stood.uuids.values())):
        asked = [
            connection
            for connection in journal.connections
            if connection.number not in stood.uuids
            and connection.subscribed_ms is not None
            and connection.opened_ms <= first[uuid] <= connection.subscribed_ms + UP_MS_MAX
        ]
        if len(asked) == 1:
            stood.uuids[asked[0].number] = uuid


def _at(row: RawRow) -> str:
    return f"{row.topic}/{row.partition} at {row.offset}"
