"""What a client says, and what it is told. Pure: text in, replies and the new subscriptions out."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from sandbox.simulate.market import knows_channel

PING = "ping"
PONG = b"pong"

CHANNELS_MAX = 1_000


class _Request(msgspec.Struct):
    method: Literal["subscribe", "unsubscribe"]
    channels: list[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Text messages to send back, and what the client is subscribed to from now on."""

    replies: tuple[bytes, ...]
    subscribed: frozenset[str]


def answer(message: str | bytes, subscribed: frozenset[str]) -> Answer:
    """Answer one message: `ping` with `pong`, a request with an acknowledgement, all else with an error object.

    Of a request's channels, the known ones are subscribed and acknowledged, the others named in an error.

    >>> answer("ping", frozenset()).replies
    (b'pong',)
    """
    if message == PING:
        return Answer((PONG,), subscribed)
    try:
        request = msgspec.json.decode(message, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer((_error(f"not a request: {error}"),), subscribed)
    if request.method == "unsubscribe":
        return Answer((_acknowledged("unsubscribe", request.channels),), subscribed - set(request.channels))
    known = [name for name in request.channels if knows_channel(name)]
    after = subscribed | set(known)
    if len(after) > CHANNELS_MAX:
        return Answer((_error(f"more than {CHANNELS_MAX} channels on one connection"),), subscribed)
    replies = [_acknowledged("subscribe", known)] if known or not request.channels else []
    replies += [_error(f"unknown channel: {name}") for name in request.channels if name not in after]
    return Answer(tuple(replies), after)


def _acknowledged(event: str, channels: list[str]) -> bytes:
    return msgspec.json.encode({"event": event, "success": True, "channels": channels})


def refusal(channel: str) -> bytes:
    """Return what a client is told whose plan does not have a channel."""
    return _error(f"your plan does not include {channel}")


def _error(text: str) -> bytes:
    return msgspec.json.encode({"event": "error", "success": False, "message": text})
