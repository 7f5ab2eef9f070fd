"""A look at the feed: connect as the producer does, subscribe, listen for a few seconds, and leave.

The API key is in the address that is connected to and nowhere else: what a failure says is made of its kind, and what
the server says is scrubbed.
"""

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import websocket
from websocket import ABNF

from coinglass_streams.doctor.feed import FeedSeen
from coinglass_streams.doctor.findings import Trouble
from coinglass_streams.doctor.unreachable import why_unreachable
from producer.feed import LOST, MESSAGES, ReadAhead, next_message
from producer.protocol import FeedProtocol, Notice, Placed, Pong, Unplaced
from producer.settings import ProducerSettings
from schemas.channels import parse_channel

#: Enough heard of every channel to stop listening.
FRAMES_ENOUGH = 20
LISTEN_MS_MIN = 1_000
NOTICES_MAX = 20
SKEWS_MAX = 10_000
CLOSE_SECONDS_MAX = 0.5


class _Record(msgspec.Struct, gc=False):
    time: int


class _Times(msgspec.Struct, gc=False):
    data: list[_Record]


_times = msgspec.json.Decoder(_Times)


def look_at_feed(settings: ProducerSettings, listen_ms: int) -> FeedSeen | Trouble:
    """Return what was seen, or why there was no connection; blocks for as long as that takes."""
    feed: Any = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    began_s = time.monotonic()
    try:
        feed.connect(settings.address(), timeout=settings.connect_timeout_ms / 1000, redirect_limit=0)
    except LOST as error:
        return why_unreachable(error, settings)
    try:
        seen = FeedSeen(_ms_since(began_s), *_tls_and_date(feed))
        _listen(feed, settings, listen_ms, seen)
    finally:
        feed.shutdown()
    return seen


def _tls_and_date(feed: Any) -> tuple[str | None, int | None]:
    tls = feed.sock.version() if feed.is_ssl() else None
    try:
        date = parsedate_to_datetime(feed.getheaders()["date"])
    except (KeyError, ValueError, TypeError):
        return tls, None
    return tls, _now_ms() - int(date.timestamp() * 1000) - 500  # half of the second that it does not show


def _listen(feed: Any, settings: ProducerSettings, listen_ms: int, seen: FeedSeen) -> None:
    """Subscribe, and take what comes until it is enough or the time is over."""
    protocol = FeedProtocol(settings.channels, settings.timing)
    feed.sock = sock = ReadAhead(feed.sock, settings.message_bytes_max)
    began_s = time.monotonic()
    try:
        feed.send(protocol.opened(_now_ms()).text)
        feed.send("ping")
        while (left_ms := listen_ms - _ms_since(began_s)) > 0 and not _enough(settings, seen, _ms_since(began_s)):
            feed.settimeout(left_ms / 1000)
            opcode, data = next_message(feed, sock)
            if opcode == ABNF.OPCODE_CLOSE:
                seen.closed = "the feed closed it"
                break
            if opcode in MESSAGES:
                _take(protocol, data, settings, seen, _ms_since(began_s))
    except websocket.WebSocketTimeoutException:
        pass  # quiet to the end
    except LOST as error:
        seen.closed = why_unreachable(error, settings).says
    seen.listened_ms = _ms_since(began_s)
    with suppress(*LOST):
        feed.send(protocol.closing().text)
        feed.close(timeout=CLOSE_SECONDS_MAX)


def _enough(settings: ProducerSettings, seen: FeedSeen, listened_ms: int) -> bool:
    heard = all(seen.heard_of(channel) >= FRAMES_ENOUGH for channel in settings.channels)
    return listened_ms >= LISTEN_MS_MIN and heard and seen.pong_ms is not None


def _take(protocol: FeedProtocol, payload: bytes, settings: ProducerSettings, seen: FeedSeen, at_ms: int) -> None:
    now_ms = _now_ms()
    match protocol.message(payload, now_ms):
        case Pong():
            seen.pong_ms = at_ms
        case Notice(text):
            if len(seen.notices) < NOTICES_MAX:
                seen.notices.append(settings.api_key.scrub(text) if settings.api_key else text)
        case Unplaced(reason):
            seen.unplaced[reason] += 1
            seen.drift.add(payload)
        case Placed(_, channel):
            seen.frames[parse_channel(channel.decode())] += 1
            seen.drift.add(payload)
            seen.skews_ms += _skews(payload, now_ms)[: SKEWS_MAX - len(seen.skews_ms)]


def _skews(payload: bytes, now_ms: int) -> list[int]:
    try:
        return [now_ms - record.time for record in _times.decode(payload).data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []  # the drift tells


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ms_since(began_s: float) -> int:
    return int((time.monotonic() - began_s) * 1000)
