"""Whether a producer is running, by the newest marks of the raw topics. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from coinglass_streams.doctor.drift import DriftTally
from coinglass_streams.doctor.findings import Finding, Level, so_long, so_many
from processors.frames import FeedMark, Rejected, decode_mark
from schemas.topics import HEADER_GROUP

#: A mark that is older than this, and than three times `--mark-every`, is the last one.
AGE_MS_MAX = 10_000
#: A connection is asked for evidence every second: silent for so long, it is half open.
SILENT_MS_MAX = 20_000
CLOCKS_APART_MS_MAX = 5_000
CONNECTIONS_MAX = 100


@dataclass(slots=True)
class ConnectionSeen:
    """One connection's marks, as far as they were looked at: the newest, and when the oldest was made."""

    newest: FeedMark
    oldest_at_ms: int
    group: bytes | None

    def overlaps(self, other: "ConnectionSeen") -> bool:
        """Tell whether both wrote at one time: a killed producer's last mark stands before its successor's first."""
        return self.oldest_at_ms <= other.newest.at_ms and other.oldest_at_ms <= self.newest.at_ms


@dataclass(slots=True)
class RawSeen:
    """What the newest records of the raw topics told, and when they were asked, UTC ms."""

    looked_at_ms: int
    connections: dict[str, ConnectionSeen] = field(default_factory=dict)
    drift: DriftTally = field(default_factory=DriftTally)

    def take_mark(self, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Look at a mark; bytes that are none are passed over."""
        mark = decode_mark(value)
        if isinstance(mark, Rejected):
            return
        known = self.connections.get(mark.connection)
        if known is not None:
            known.oldest_at_ms = min(known.oldest_at_ms, mark.at_ms)
            if mark.at_ms >= known.newest.at_ms:
                known.newest = mark
        elif len(self.connections) < CONNECTIONS_MAX:
            self.connections[mark.connection] = ConnectionSeen(mark, mark.at_ms, headers.get(HEADER_GROUP))


def judge_marks(seen: RawSeen, mark_every_ms: int) -> list[Finding]:
    """Say whether somebody writes, whether it hears anything, and whether two write the same."""
    start = "start 'coinglass-streams produce'"
    if not seen.connections:
        return [Finding("marks", Level.WARN, "no producer has written any yet", start)]
    age_ms_max = max(AGE_MS_MAX, 3 * mark_every_ms)
    now_ms = seen.looked_at_ms
    age_ms = now_ms - max(one.newest.at_ms for one in seen.connections.values())
    if age_ms > age_ms_max:
        return [Finding("marks", Level.WARN, f"the newest is {so_long(age_ms)} old: no producer is running", start)]
    if age_ms < -CLOCKS_APART_MS_MAX:
        says = f"the newest is {so_long(age_ms)} ahead of this machine's clock"
        return [Finding("marks", Level.WARN, says, "set both clocks by NTP, the producer's and this one")]
    live = [
        one
        for one in seen.connections.values()
        if one.newest.kind != "down" and now_ms - one.newest.at_ms <= age_ms_max
    ]
    if not live:
        says = "the newest says that the feed is down: the producer has lost it, or has just ended"
        return [Finding("marks", Level.WARN, says, "see its log")]
    return _judge_live(live, age_ms)


def _judge_live(live: Sequence[ConnectionSeen], age_ms: int) -> list[Finding]:
    findings = []
    twice = _written_twice(live)
    if twice:
        says = f"two producers write {min(twice)}, and its records count twice"
        findings.append(Finding("marks", Level.FAIL, says, "stop one of them"))
    silent_ms = min(one.newest.at_ms - one.newest.heard_at_ms for one in live)
    if silent_ms > SILENT_MS_MAX:
        says = f"the producer has heard nothing for {so_long(silent_ms)}"
        findings.append(Finding("marks", Level.WARN, says, "see its log, and the connection above"))
    if not findings:
        channels = so_many(len({channel for one in live for channel in one.newest.channels}), "channel")
        says = f"a producer is running, for {channels}; the newest is {so_long(age_ms)} old"
        findings.append(Finding("marks", Level.OK, says))
    return findings


def _written_twice(live: Sequence[ConnectionSeen]) -> set[str]:
    """Return the channels that two connections carry at one time which are not of one redundant group."""
    twice: set[str] = set()
    for one, other in combinations(live, 2):
        if one.overlaps(other) and (one.group is None or one.group != other.group):
            twice |= set(one.newest.channels) & set(other.newest.channels)
    return twice
