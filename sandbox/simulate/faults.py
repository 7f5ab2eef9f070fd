"""What can go wrong with the feed, when it does, and the messages that are wrong. Pure and seeded.

A fault acts in one of four ways: on the message (one more message, spoiled), on the connection, on the subscription, or
on the pace.
"""

import gzip
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from sandbox.simulate.market import Frame, Record, encode
from schemas.channels import NAME_CHARACTERS_MAX
from schemas.durations import Duration, parse_duration
from schemas.errors import UsageError

BURST_FACTOR = 20.0
BURST_MS = 2_000
DRIP_MS = 3_000

#: The name that stands for every fault.
ALL = "all"

EVERY_MS_MIN = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to commit again and again, `every` so long; the first time when that much has passed."""

    name: str
    every: Duration


@dataclass(frozen=True, slots=True)
class Message:
    """One WebSocket message as it goes out; text need not be UTF-8 here."""

    payload: bytes
    binary: bool = False
    compressed: bool = False  # by permessage-deflate


#: Fault -> how often unless said, and what it does.
FAULTS: dict[str, tuple[str, str]] = {
    "disconnect": ("60s", "the connection is reset"),
    "half-open": ("5m", "nothing is sent or answered any more, no pong either; the connection stays"),
    "cut": ("60s", "the connection is reset in the middle of a message"),
    "close": ("60s", "the feed says that it is going away, and closes"),
    "no-pong": ("5m", "text pings are not answered any more on the connection, all else goes on"),
    "compressed": ("60s", "a message comes compressed, though nobody agreed on that"),
    "refusal": ("60s", "a channel is refused, and not sent any more until it is asked for again"),
    "slow-drip": ("45s", f"a message's bytes come in drops for {DRIP_MS // 1000} s, the rest waits behind it"),
    "burst": ("30s", f"{BURST_FACTOR:.0f} times the rate for {BURST_MS // 1000} s"),
    "garbage": ("10s", "a text message that is not JSON"),
    "bad-utf8": ("15s", "a text message that is not UTF-8"),
    "binary": ("15s", "a binary message: a frame, compressed with gzip"),
    "unknown-channel": ("10s", "a frame of a channel that nobody knows"),
    "unknown-fields": ("5s", "a sound frame with fields that the contract does not know"),
    "bad-records": ("5s", "a frame with bad records among good ones: side 7, negative volume, no price, empty names"),
    "future-time": ("10s", "a frame with records minutes ahead of now"),
    "late": ("10s", "a frame of records that are minutes old"),
}


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """Read `--faults`: names with commas between, each with an interval if wanted; `all` is every fault.

    What comes later wins, so `all,disconnect:5s` is everything, and disconnects every 5 s:

    >>> parse_faults(["garbage:5s,late"])[0].every.ms
    5000

    Raises UsageError for a name or an interval that is none.
    """
    chosen: dict[str, Fault] = {}
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        if not text:
            continue
        name, colon, written = text.partition(":")
        if name != ALL and name not in FAULTS:
            raise UsageError(f"{name!r} is not a fault: choose from {', '.join([*FAULTS, ALL])}")
        for each in FAULTS if name == ALL else (name,):
            every = parse_duration(written if colon else FAULTS[each][0])
            if every.ms < EVERY_MS_MIN:
                raise UsageError(f"{text!r} would come too often: every {EVERY_MS_MIN}ms at most")
            chosen[each] = Fault(each, every)
    return tuple(chosen.values())


class Schedule:
    """When each fault is due: after one interval, two, three …; a stretch slept through counts once."""

    def __init__(self, faults: Iterable[Fault], now_ms: int) -> None:
        self._every_ms = {fault.name: fault.every.ms for fault in faults}
        self._next_ms = {name: now_ms + every_ms for name, every_ms in self._every_ms.items()}

    def due(self, now_ms: int) -> tuple[str, ...]:
        """Return the faults to commit now."""
        names = tuple(name for name, at_ms in self._next_ms.items() if at_ms <= now_ms)
        for name in names:
            every_ms = self._every_ms[name]
            self._next_ms[name] += ((now_ms - self._next_ms[name]) // every_ms + 1) * every_ms
        return names


def spoil(name: str, frame: Frame, now_ms: int, rng: random.Random) -> Message:
    """Return the message of a fault that acts on messages, made of a sound frame; the frame is left as it is."""
    return SPOILED[name](frame, now_ms, rng)


def compressed(frame: Frame) -> Message:
    """Return a sound frame as permessage-deflate would send it."""
    deflate = zlib.compressobj(wbits=-15)
    flushed = deflate.compress(encode(frame)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return Message(flushed.removesuffix(b"\x00\x00\xff\xff"), compressed=True)


def _garbage(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    del now_ms
    whole = encode(frame)
    return Message(
        rng.choice(
            (
                whole[: rng.randrange(1, len(whole))],
                whole + b"}",
                b"<html><head><title>502 Bad Gateway</title></head></html>",
                b"undefined",
                whole.replace(b'"', b"'"),
            )
        )
    )


def _bad_utf8(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    del now_ms
    bad = rng.choice((b"\xff\xfe", b"\xc3\x28", b"\xe2\x82", b"\xed\xa0\x80"))
    return Message(encode(frame).replace(b'"symbol":"', b'"symbol":"' + bad, 1))


def _binary(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    del now_ms, rng
    return Message(gzip.compress(encode(frame), mtime=0), binary=True)


def _unknown_channel(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    del now_ms
    names = ("fundingRates", "futures_trades@Binance_BTCUSDT", "futures_trades@BTCUSDT@10000", "liquidationOrders2")
    return Message(encode(Frame(rng.choice(names), frame.data)))


def _unknown_fields(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    records = [
        {**msgspec.to_builtins(r), "tradeId": f"{rng.getrandbits(48):x}", "fee": None, "tags": [{"taker": True}]}
        for r in frame.data
    ]
    return Message(msgspec.json.encode({"v": 2, "channel": frame.channel, "sentAt": now_ms, "data": records}))


#: One thing wrong with a record, each.
_WRONGS: tuple[Callable[[Record], None], ...] = (
    lambda r: setattr(r, "side", 7),
    lambda r: setattr(r, "side", 0),
    lambda r: setattr(r, "vol_usd", -r.vol_usd - 1.0),
    lambda r: setattr(r, "price", 0.0),
    lambda r: setattr(r, "price", -r.price),
    lambda r: setattr(r, "base_asset", ""),
    lambda r: setattr(r, "ex_name", ""),
    lambda r: setattr(r, "symbol", ""),
    lambda r: setattr(r, "base_asset", "X" * (NAME_CHARACTERS_MAX + 1)),
    lambda r: setattr(r, "time", 0),
)


def _bad_records(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    del now_ms
    sound = frame.data[0]
    wronged = []
    for wrong in rng.sample(_WRONGS, rng.randint(1, 3)):
        bad = _copy(sound)
        wrong(bad)
        wronged.append(bad)
    records = [*frame.data, *wronged]
    rng.shuffle(records)
    return Message(encode(Frame(frame.channel, records)))


def _future_time(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    ahead = _copy(frame.data[0])
    # Minutes ahead; or a time in µs where ms were meant, as has happened to exchanges.
    ahead.time = rng.choice((now_ms + rng.randint(120_000, 3_600_000), now_ms * 1_000))
    return Message(encode(Frame(frame.channel, [*frame.data, ahead])))


def _late(frame: Frame, now_ms: int, rng: random.Random) -> Message:
    old = [_copy(record) for record in frame.data]
    for record in old:
        record.time = now_ms - rng.randint(120_000, 600_000)
    return Message(encode(Frame(frame.channel, old)))


def _copy(record: Record) -> Record:
    return msgspec.structs.replace(record)


SPOILED: dict[str, Callable[[Frame, int, random.Random], Message]] = {
    "garbage": _garbage,
    "bad-utf8": _bad_utf8,
    "binary": _binary,
    "unknown-channel": _unknown_channel,
    "unknown-fields": _unknown_fields,
    "bad-records": _bad_records,
    "future-time": _future_time,
    "late": _late,
}
