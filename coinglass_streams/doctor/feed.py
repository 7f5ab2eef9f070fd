"""What was seen of the feed, judged: connection, channels and plan, clock. Pure."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from coinglass_streams.doctor.drift import DriftTally
from coinglass_streams.doctor.findings import Finding, Level, so_long, so_many
from processors.pipeline import AHEAD_MS_MAX
from schemas.channels import Channel, parse_channel

#: More than this apart, two clocks are worth a line.
SKEW_MS_MAX = 1_000
#: A Date counts whole seconds, and the way takes time too.
DATE_SKEW_MS_MAX = 2_000
SET_CLOCK = "set this machine's clock by NTP, such as 'timedatectl set-ntp true'"
SHOWN_MAX = 3
_FINE_CODES = (None, 0, "0", 200, "200")


@dataclass(slots=True)
class FeedSeen:
    """What a connection to the feed showed. Times in ms; a skew is our clock less the other's."""

    handshake_ms: int
    tls: str | None = None  # the protocol's version; None without TLS
    date_skew_ms: int | None = None  # against the Date of the handshake's answer, which counts whole seconds
    listened_ms: int = 0
    pong_ms: int | None = None
    closed: str = ""  # why the feed ended the connection, if it did
    frames: Counter[Channel | None] = field(default_factory=Counter)
    unplaced: Counter[str] = field(default_factory=Counter)  # by what is wrong with the message
    notices: list[str] = field(default_factory=list)  # what the server said beside frames, secrets scrubbed
    skews_ms: list[int] = field(default_factory=list)  # receive time less the record's own
    drift: DriftTally = field(default_factory=DriftTally)

    def heard_of(self, channel: str) -> int:
        """Return the number of frames of a channel, in whichever spelling of its name they came."""
        return self.frames[parse_channel(channel)]


def judge_connection(place: str, seen: FeedSeen) -> Finding:
    """Say how the connection went."""
    how = f"{place} in {so_long(seen.handshake_ms)}"
    if seen.tls is not None:
        how += f" over {seen.tls}, its name verified"
    if seen.closed:
        remedy = "see whether others use this key, and try again"
        return Finding("connection", Level.FAIL, f"{how}; then {seen.closed}", remedy)
    if seen.pong_ms is None:
        says = f"{how}; no pong came within {so_long(seen.listened_ms)} of a ping"
        return Finding(
            "connection", Level.FAIL, says, "see that --url is CoinGlass's feed and no proxy holds text back"
        )
    return Finding("connection", Level.OK, f"{how}; pong after {so_long(seen.pong_ms)}")


def judge_channels(channels: Sequence[str], seen: FeedSeen) -> list[Finding]:
    """Say what was heard of each channel, and what was refused."""
    heard = [f"{name} {so_many(seen.heard_of(name), 'frame')}" for name in channels if seen.heard_of(name)]
    quiet = [name for name in channels if not seen.heard_of(name)]
    time = so_long(seen.listened_ms)
    findings = []
    refusals = [text for text in seen.notices if is_refusal(text)]
    if refusals:
        says = f"the feed refused: {'; '.join(refusals[:SHOWN_MAX])}"
        remedy = "see the channels' names, and that the plan has them (Standard and above)"
        findings.append(Finding("channels", Level.FAIL, says, remedy))
    if heard:
        more = f", and {len(heard) - SHOWN_MAX} more channels" if len(heard) > SHOWN_MAX else ""
        findings.append(Finding("channels", Level.OK, f"heard in {time}: {', '.join(heard[:SHOWN_MAX])}{more}"))
    if quiet and not refusals:
        more = f" and {len(quiet) - SHOWN_MAX} more" if len(quiet) > SHOWN_MAX else ""
        says = f"nothing in {time} of {', '.join(quiet[:SHOWN_MAX])}{more}"
        remedy = "quiet, or not of this plan, or no such market: listen longer with --listen 60s"
        findings.append(Finding("channels", Level.WARN, says, remedy))
    if seen.unplaced:
        says = ", ".join(f"{so_many(count, 'message')} {reason}" for reason, count in sorted(seen.unplaced.items()))
        findings.append(Finding("channels", Level.WARN, f"{says}, for the dead letters", "see for a newer version"))
    return findings


def is_refusal(text: str) -> bool:
    """Tell whether a notice says that something was refused.

    CoinGlass documents no form for it: an error by name, by `success`, or by a code other than 0 and 200.

    >>> is_refusal('{"event":"error","message":"no such channel"}'), is_refusal('{"success":true,"code":0}')
    (True, False)
    """
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return False
    if not isinstance(said, dict):
        return False
    code = said.get("code")
    return (
        said.get("event") == "error"
        or said.get("success") is False
        or bool(said.get("error"))
        or (isinstance(code, (int, str)) and code not in _FINE_CODES)
    )


def judge_clock(seen: FeedSeen, mark_delay_ms: int) -> Finding:
    """Say how far our clock and the records' times are apart.

    A record more than 60 s ahead of its receive time is rejected; and a clock that is fast by more than the mark delay
    closes windows before their records are there.
    """
    if not seen.skews_ms:
        return _judge_date(seen.date_skew_ms, mark_delay_ms)
    skew_ms = statistics.median_low(seen.skews_ms)
    which = "after" if skew_ms >= 0 else "before"
    says = f"records come {so_long(skew_ms)} {which} their time, median of {len(seen.skews_ms):,}"
    if abs(skew_ms) <= SKEW_MS_MAX:
        return Finding("clock", Level.OK, says)
    remedy = SET_CLOCK
    if seen.date_skew_ms is not None and abs(seen.date_skew_ms) <= DATE_SKEW_MS_MAX:
        says += ", though the feed's server has our time"
        remedy = "raise --mark-delay above it" if skew_ms > 0 else "the feed's own times are off: tell CoinGlass"
    return Finding("clock", *_badness(says, skew_ms, mark_delay_ms), remedy)


def _judge_date(skew_ms: int | None, mark_delay_ms: int) -> Finding:
    if skew_ms is None:
        return Finding("clock", Level.SKIP, "no record was heard to compare it with")
    if abs(skew_ms) <= DATE_SKEW_MS_MAX:
        return Finding(
            "clock", Level.OK, "agrees with the feed's server to 2 s; no record was heard to compare it with"
        )
    says = f"{so_long(skew_ms)} {'ahead of' if skew_ms > 0 else 'behind'} the feed's server"
    return Finding("clock", *_badness(says, skew_ms, mark_delay_ms), SET_CLOCK)


def _badness(says: str, skew_ms: int, mark_delay_ms: int) -> tuple[Level, str]:
    if skew_ms < -AHEAD_MS_MAX:
        return Level.FAIL, f"{says}, and all records are rejected as future-time"
    if skew_ms > mark_delay_ms:
        return Level.FAIL, f"{says}, and windows close before their records come"
    return Level.WARN, says
