"""CoinGlass's protocol without a socket: what to send and when, what each message is. Pure: it is told the time.

A shell calls `opened` when the WebSocket is, `message` for each text or binary message, `heard` for WebSocket pings and
pongs, `follow` when the channels change, and `tick` a few times a second; it does what the returned actions say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from producer.notices import Verdict
from producer.settings import Timing
from producer.subscription import Listened, Subscription
from schemas.channels import LiquidationChannel, parse_channel

#: Longest detail of a dead letter, in characters.
DETAIL_CHARACTERS_MAX = 200

#: Channel names remembered with their meaning. A feed sends a few; a broken one must not fill the memory.
_PLACES_MAX = 4_096

_PONGS = (b"pong", b'"pong"')


class RawKind(Enum):
    """Which raw topic a frame goes to."""

    LIQUIDATIONS = "liquidations"
    TRADES = "trades"


@dataclass(frozen=True, slots=True)
class SendText:
    """Send this text."""

    text: str


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send a WebSocket ping."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The connection is not alive any more: close it and open another."""

    reason: str


Action = SendText | SendProbe | Dead


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A frame for a raw topic: `channel` is the canonical name, whatever it was called; `payload` as it came."""

    kind: RawKind
    channel: bytes
    payload: bytes


class Unplaced(msgspec.Struct, frozen=True, gc=False):
    """A message for the dead letters: `reason` of the contract, `detail` for a person, `payload` as it came."""

    reason: str
    detail: str
    payload: bytes


class Notice(msgspec.Struct, frozen=True, gc=False):
    """An acknowledgement, a notice or an error of the server's: for the log.

    `channels` are those that it newly refused, or granted again.
    """

    text: str
    verdict: Verdict = Verdict.SAID
    channels: tuple[str, ...] = ()


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to our `ping`."""


Message = Placed | Unplaced | Notice | Pong

_PONG = Pong()


class _Frame(msgspec.Struct, gc=False):
    """What the producer reads of a frame; `data` is looked over as JSON, and stays as it is."""

    channel: str
    data: msgspec.Raw


class _Place(msgspec.Struct, gc=False):
    """Where the frames of a channel go; `listened` if it is of this connection's subscription."""

    kind: RawKind
    channel: bytes
    listened: Listened | None


class _Anything(msgspec.Struct, gc=False):
    """What tells a notice from a frame that cannot be placed."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_anything = msgspec.json.Decoder(_Anything).decode
_decode_notice = msgspec.json.Decoder(dict[str, Any]).decode

#: What msgspec raises on bytes it cannot read: syntax and types, text that is not UTF-8, nesting without end.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FeedProtocol:
    """One connection's conversation. Times are UTC ms."""

    def __init__(self, channels: Sequence[str], timing: Timing) -> None:
        self._wanted = tuple(channels)
        self.subscription = Subscription()
        self._timing = timing
        self._places: dict[str, _Place] = {}
        self._pinged_at_ms = 0
        self._probed_at_ms = 0
        self._pong_missing = False
        #: The last moment anything arrived.
        self.heard_at_ms = 0

    def opened(self, now_ms: int) -> SendText:
        """Return the subscription; pings count from now."""
        self.heard_at_ms = self._pinged_at_ms = self._probed_at_ms = now_ms
        added, _ = self.subscription.follow(self._wanted, now_ms)
        return _request("subscribe", added)

    def closing(self) -> SendText:
        """Return what takes the subscription back."""
        return _request("unsubscribe", self.subscription.spelled)

    def follow(self, channels: Sequence[str], now_ms: int) -> list[SendText]:
        """Take other channels; return what tells the feed what changed."""
        if tuple(channels) == self._wanted:
            return []
        self._wanted = tuple(channels)
        added, gone = self.subscription.follow(channels, now_ms)
        self._places.clear()
        changes = (("unsubscribe", gone), ("subscribe", added))
        return [_request(method, names) for method, names in changes if names]

    def heard(self, now_ms: int) -> None:
        """Take note that something arrived."""
        if now_ms > self.heard_at_ms:
            self.heard_at_ms = now_ms

    def message(self, payload: bytes, now_ms: int) -> Message:
        """Tell what a text or binary message is; never raises, whatever the bytes."""
        self.heard(now_ms)
        try:
            frame = _decode_frame(payload)
            if not payload.isascii():
                payload.decode()  # msgspec passes over what it does not decode
        except _UNREADABLE:
            return self._not_a_frame(payload, now_ms)
        place = self._places.get(frame.channel) or self._find(frame.channel)
        if place is None:
            return Unplaced("unknown-channel", _short(f"no such channel: {frame.channel}"), payload)
        listened = place.listened
        if listened is not None:
            listened.frame_at_ms = now_ms
            listened.refused = False
        return Placed(place.kind, place.channel, payload)

    def tick(self, now_ms: int) -> list[Action]:
        """Return what is due: pings, or the end of a connection whose `pong` stayed away.

        >>> protocol = FeedProtocol(["liquidationOrders"], Timing(20_000, 10_000, 60_000))
        >>> _ = protocol.opened(0)
        >>> protocol.tick(19_999), protocol.tick(20_000), protocol.tick(30_000)
        ([], [SendText(text='ping')], [Dead(reason='no pong came within 10 s of a ping')])
        """
        timing = self._timing
        if self._pong_missing and now_ms - self._pinged_at_ms >= timing.pong_timeout_ms:
            return [Dead(f"no pong came within {timing.pong_timeout_ms / 1000:g} s of a ping")]
        actions: list[Action] = []
        if not self._pong_missing and now_ms - self._pinged_at_ms >= timing.ping_every_ms:
            self._pinged_at_ms, self._pong_missing = now_ms, True
            actions.append(SendText("ping"))
        if now_ms - max(self._probed_at_ms, self.heard_at_ms) >= timing.probe_every_ms:
            self._probed_at_ms = now_ms
            actions.append(SendProbe())
        refused = self.subscription.ask_again(now_ms, timing.ask_again_every_ms)
        if refused:
            actions.append(_request("subscribe", refused))
        return actions

    def _find(self, channel: str) -> _Place | None:
        known = parse_channel(channel)
        if known is None:
            return None
        kind = RawKind.LIQUIDATIONS if isinstance(known, LiquidationChannel) else RawKind.TRADES
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        place = self._places[channel] = _Place(kind, known.name.encode(), self.subscription.get(known.name))
        return place

    def _not_a_frame(self, payload: bytes, now_ms: int) -> Message:
        if payload.strip() in _PONGS:
            self._pong_missing = False
            return _PONG
        try:
            text = payload.decode()
            anything = _decode_anything(payload)
            notice = _decode_notice(payload)
        except UnicodeDecodeError:
            return Unplaced("malformed", "not UTF-8", payload)
        except msgspec.ValidationError:
            return Unplaced("malformed", "not a JSON object", payload)
        except _UNREADABLE as error:
            return Unplaced("malformed", _short(f"not JSON: {error}"), payload)
        if anything.data is msgspec.UNSET:
            meant, channels = self.subscription.hear(notice, text, now_ms)
            return Notice(text, meant, tuple(channels))
        return Unplaced("malformed", "data without the name of a channel", payload)


def _request(method: str, channels: Sequence[str]) -> SendText:
    return SendText(json.dumps({"method": method, "channels": channels}, separators=(",", ":")))


def _short(detail: str) -> str:
    return detail[:DETAIL_CHARACTERS_MAX]
