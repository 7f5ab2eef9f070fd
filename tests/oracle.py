"""The contract once more, as slow and plain as it can be written: what one raw partition must turn into.

Written from the contract alone, and sharing nothing with `processors`: every record of an open window is kept, every
mark ever seen is kept, and each final is computed from them all when its window closes. Only the standard library.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

FUTURE_MS = 60_000
NAME_CHARACTERS_MAX = 64
PRICE_MIN = 1e-100
VOL_USD_MAX = 1e200
NESTING_MAX = 64
SILENT_MS_MAX = 86_400_000  # a connection not heard for so long is gone


class Raw(Protocol):
    """A message of a raw topic; aiokafka's ConsumerRecord is one."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class OracleSettings:
    """`windows` as (name, ms); the rest as the worker's flags."""

    windows: tuple[tuple[str, int], ...]
    grace_ms: int = 5_000
    mark_delay_ms: int = 10_000
    assume_coverage: bool = False
    prefix: str = "coinglass"


@dataclass(frozen=True)
class Final:
    """One value of a results topic; `schema` is the name of its `.avsc` file, times in `value` are integer ms."""

    topic: str
    schema: str
    key: bytes
    value: dict[str, Any]
    timestamp_ms: int


@dataclass(frozen=True)
class DeadLetter:
    """One message of the dead letters, but for `error.detail`, which is free text."""

    topic: str
    reason: str
    indexes: list[int]
    key: bytes | None
    value: bytes | None
    source: tuple[str, int, int, int]  # topic, partition, offset, timestamp ms
    timestamp_ms: int


@dataclass
class Expected:
    """All that a raw partition turns into; `late` are Finals of the late topic, in its order."""

    finals: dict[str, list[Final]] = field(default_factory=dict)
    late: list[Final] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)


class Record(NamedTuple):
    base_asset: str
    exchange: str
    symbol: str
    price: float
    side: int
    time: int
    vol_usd: float


class Market(NamedTuple):
    exchange: str
    symbol: str
    min_vol_usd: float


class Mark(NamedTuple):
    kind: str
    at_ms: int
    heard_at_ms: int
    connection: str
    channels: tuple[str, ...]


class MalformedError(Exception):
    """The bytes are not what the schema says."""


class _Integer(str):
    """A JSON number without fraction or exponent, as it was written."""


class _Decimal(str):
    """A JSON number with fraction or exponent, as it was written."""


def expect(raw_records: Iterable[Raw], settings: OracleSettings) -> Expected:
    """Return what the records of one raw partition, in the order of their offsets, must turn into."""
    run = _Run(settings)
    for raw in raw_records:
        run.take(raw)
    return run.expected


def micro_usd(vol_usd: float) -> int:
    """Micro-USD that a record counts as."""
    return round(vol_usd * 1_000_000)


def usd(micros: int) -> float:
    """The double nearest to an exact sum."""
    return float(Fraction(micros, 1_000_000))


# --- reading ----------------------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> None:
    raise MalformedError(f"{name} is not JSON")


def _nesting(value: bytes) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for byte in value.decode("latin-1"):
        if in_string:
            in_string, escaped = escaped or byte != '"', byte == "\\" and not escaped
        elif byte == '"':
            in_string = True
        elif byte in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in "]}":
            depth -= 1
    return deepest


def _json_object(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise MalformedError("no value")
    if _nesting(value) > NESTING_MAX:
        raise MalformedError("nested too deep")
    try:
        read = json.loads(
            value.decode("utf-8", "strict"), parse_int=_Integer, parse_float=_Decimal, parse_constant=_refuse_constant
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from error
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # half a surrogate pair: no text in any encoding
        raise MalformedError(str(error)) from error
    if not isinstance(read, dict):
        raise MalformedError("not an object")
    return read


def _get(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise MalformedError(f"{name} is missing")
    return fields[name]


#: What the feed's newer documentation calls fields and channels; a field under its older name comes first.
RENAMED = {
    "baseAsset": ("base_asset",),
    "exName": ("exchange", "exchange_name"),
    "volUsd": ("volume_usd", "vol_usd"),
}


def _get_of_record(fields: dict[str, Any], name: str) -> Any:
    return _get(fields, next((n for n in (name, *RENAMED.get(name, ())) if n in fields), name))


def _one_name(channel: str) -> str:
    return "liquidationOrders" if channel == "liquidation_orders" else channel


def _text(value: Any) -> str:
    if type(value) is not str:
        raise MalformedError("not a string")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise MalformedError("not an array")
    return value


def _integer(value: Any, bits: int) -> int:
    if type(value) is not _Integer or len(value) > 30:
        raise MalformedError("not an integer")
    number = int(value)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise MalformedError("out of range")
    return number


def _double(value: Any) -> float:
    if type(value) not in (_Integer, _Decimal):
        raise MalformedError("not a number")
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise MalformedError("out of range")
    return number


def read_frame(value: bytes | None) -> tuple[str, list[Record]]:
    """Return channel and records of a frame; raises MalformedError."""
    frame = _json_object(value)
    channel = _text(_get(frame, "channel"))
    records = []
    for fields in _list(_get(frame, "data")):
        if type(fields) is not dict:
            raise MalformedError("a record is no object")
        records.append(
            Record(
                base_asset=_text(_get_of_record(fields, "baseAsset")),
                exchange=_text(_get_of_record(fields, "exName")),
                symbol=_text(_get_of_record(fields, "symbol")),
                price=_double(_get_of_record(fields, "price")),
                side=_integer(_get_of_record(fields, "side"), 32),
                time=_integer(_get_of_record(fields, "time"), 64),
                vol_usd=_double(_get_of_record(fields, "volUsd")),
            )
        )
    return _one_name(channel), records


def read_mark(value: bytes | None) -> Mark:
    """Return a feed mark; raises MalformedError."""
    fields = _json_object(value)
    kind = _text(_get(fields, "kind"))
    if kind not in ("up", "alive", "down"):
        raise MalformedError("no such kind")
    at_ms = _integer(_get(fields, "at_ms"), 64)
    if at_ms <= 0:
        raise MalformedError("before the epoch")
    return Mark(
        kind=kind,
        at_ms=at_ms,
        heard_at_ms=_integer(_get(fields, "heard_at_ms"), 64),
        connection=_text(_get(fields, "connection")),
        channels=tuple(_one_name(_text(channel)) for channel in _list(_get(fields, "channels"))),
    )


def read_channel(name: str) -> Market | str | None:
    """Return "liquidations", a Market, or None for a channel nobody knows."""
    if name == "liquidationOrders":
        return "liquidations"
    if not name.startswith("futures_trades@"):
        return None
    rest = name[len("futures_trades@") :]
    if "@" not in rest:
        return None
    market, min_vol = rest[: rest.rindex("@")], rest[rest.rindex("@") + 1 :]
    if "_" not in market or not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,6})?", min_vol):
        return None
    exchange, symbol = market[: market.index("_")], market[market.index("_") + 1 :]
    if not (1 <= len(exchange) <= NAME_CHARACTERS_MAX and 1 <= len(symbol) <= NAME_CHARACTERS_MAX):
        return None
    return Market(exchange, symbol, float(min_vol))


def why_bad(record: Record, received_at_ms: int) -> str | None:
    """Return the reason a record is refused for, None for a good one."""
    names = (record.base_asset, record.exchange, record.symbol)
    if (
        record.side not in (1, 2)
        or record.vol_usd < 0
        or record.vol_usd > VOL_USD_MAX
        or record.price < PRICE_MIN
        or record.time <= 0
        or any(not 1 <= len(name) <= NAME_CHARACTERS_MAX for name in names)
    ):
        return "bad-record"
    if record.time - received_at_ms > FUTURE_MS:
        return "future-time"
    return None


# --- coverage ---------------------------------------------------------------------------------------------------------


def covered_spans(marks: Iterable[Mark], channel: str) -> list[tuple[int, int]]:
    """Return [from, to) of the time that one connection's marks, in their order, say it was up and subscribed."""
    spans = []
    began: int | None = None  # None: not subscribed
    heard: int | None = None  # the largest of the marks since then

    known: set[str] = set()  # the channels of the mark before

    def stop() -> None:
        nonlocal began, heard
        if began is not None and heard is not None and heard > began:
            spans.append((began, heard))
        began = heard = None

    reached: int | None = None  # the last moment anything is known of the connection; None: it is down
    for mark in marks:
        mark_heard = min(mark.heard_at_ms, mark.at_ms)  # no mark knows of what came after it
        gone = reached is not None and mark.at_ms - reached > SILENT_MS_MAX
        if mark.kind == "up" or gone or reached is None:
            stop()
            reached = None
            if mark.kind != "down":
                reached = mark.at_ms
                if channel in mark.channels:
                    began = mark.at_ms
        elif mark.kind == "down":
            if began is not None:
                heard = mark_heard if heard is None else max(heard, mark_heard)
            stop()
            reached = None
        else:
            if channel not in mark.channels:
                stop()
            elif began is None:
                began = mark.at_ms
            else:
                heard = mark_heard if heard is None else max(heard, mark_heard)
            reached = max(reached, mark_heard, mark.at_ms if set(mark.channels) - known else 0)
        known = set(mark.channels)
    stop()
    return spans


def coverage(marks: list[Mark], channel: str, start_ms: int, end_ms: int) -> float:
    """Return the share of [start, end) in the union of all connections' spans."""
    spans = []
    for connection in {mark.connection for mark in marks}:
        spans += covered_spans([mark for mark in marks if mark.connection == connection], channel)
    covered_ms, reached_ms = 0, start_ms
    for began, heard in sorted(spans):
        began, heard = max(began, reached_ms), min(heard, end_ms)
        if heard > began:
            covered_ms += heard - began
            reached_ms = heard
    return covered_ms / (end_ms - start_ms)


# --- windows ----------------------------------------------------------------------------------------------------------


class _Open(NamedTuple):
    """An open window of one aggregate; sorts as finals come out."""

    end_ms: int
    start_ms: int
    aggregate: str
    key: str
    window: str


class _Run:
    def __init__(self, settings: OracleSettings) -> None:
        self.settings = settings
        self.expected = Expected()
        self.watermark_ms: int | None = None
        self.marks: list[Mark] = []
        self.open: dict[_Open, tuple[str, Market | str, list[Record]]] = {}

    def take(self, raw: Raw) -> None:
        if raw.key == b"@mark":
            self._take_mark(raw)
        else:
            self._take_frame(raw)

    def _take_mark(self, raw: Raw) -> None:
        try:
            mark = read_mark(raw.value)
        except MalformedError:
            return self._bury(raw, "malformed", [])
        if mark.at_ms - raw.timestamp > FUTURE_MS:
            return self._bury(raw, "future-time", [])
        self.marks.append(mark)
        self._raise_watermark(mark.at_ms - self.settings.mark_delay_ms, raw)
        return None

    def _take_frame(self, raw: Raw) -> None:
        try:
            channel, records = read_frame(raw.value)
        except MalformedError:
            return self._bury(raw, "malformed", [])
        market = read_channel(channel)
        if market is None:
            return self._bury(raw, "unknown-channel", [])
        bad: dict[str, list[int]] = {"bad-record": [], "future-time": []}
        for index, record in enumerate(records):
            reason = why_bad(record, raw.timestamp)
            if reason is None:
                self._count(raw, channel, market, index, record)
            else:
                bad[reason].append(index)
        for reason, indexes in bad.items():
            if indexes:
                self._bury(raw, reason, indexes)
        return None

    def _count(self, raw: Raw, channel: str, market: Market | str, index: int, record: Record) -> None:
        for window, size_ms in self.settings.windows:
            start_ms = record.time // size_ms * size_ms
            end_ms = start_ms + size_ms
            if self.watermark_ms is not None and end_ms <= self.watermark_ms:
                self._late(raw, channel, index, record, start_ms, end_ms)
            elif isinstance(market, Market):
                opened = _Open(end_ms, start_ms, "trade-imbalance", channel, window)
                self.open.setdefault(opened, (channel, market, []))[2].append(record)
            else:
                opened = _Open(end_ms, start_ms, "liquidation-volume", record.base_asset, window)
                self.open.setdefault(opened, (channel, market, []))[2].append(record)
        self._raise_watermark(record.time - self.settings.grace_ms, raw)

    def _raise_watermark(self, watermark_ms: int, raw: Raw) -> None:
        if self.watermark_ms is None or watermark_ms > self.watermark_ms:
            self.watermark_ms = watermark_ms
        for opened in sorted(w for w in self.open if w.end_ms <= self.watermark_ms):
            self._close(opened, raw)

    def _close(self, opened: _Open, raw: Raw) -> None:
        channel, market, records = self.open.pop(opened)
        value = _imbalance(market, records) if isinstance(market, Market) else _liquidations(opened.key, records)
        value["window_start"], value["window_end"], value["revision"] = opened.start_ms, opened.end_ms, 0
        if self.marks:
            value["coverage"] = coverage(self.marks, channel, opened.start_ms, opened.end_ms)
        else:
            value["coverage"] = 1.0 if self.settings.assume_coverage else None
        topic = f"{self.settings.prefix}.{opened.aggregate}.{opened.window}"
        schema = opened.aggregate.replace("-", "_")
        final = Final(topic, schema, opened.key.encode(), value, raw.timestamp)
        self.expected.finals.setdefault(topic, []).append(final)

    def _late(self, raw: Raw, channel: str, index: int, record: Record, start_ms: int, end_ms: int) -> None:
        value = {
            **record._asdict(),
            "channel": channel,
            "window_start": start_ms,
            "window_end": end_ms,
            "watermark": self.watermark_ms,
            "topic": raw.topic,
            "partition": raw.partition,
            "offset": raw.offset,
            "index": index,
        }
        topic = f"{self.settings.prefix}.late"
        self.expected.late.append(Final(topic, "late_record", channel.encode(), value, raw.timestamp))

    def _bury(self, raw: Raw, reason: str, indexes: list[int]) -> None:
        source = (raw.topic, raw.partition, raw.offset, raw.timestamp)
        topic = f"{self.settings.prefix}.dead-letters"
        self.expected.dead.append(DeadLetter(topic, reason, indexes, raw.key, raw.value, source, raw.timestamp))


# --- values -----------------------------------------------------------------------------------------------------------


def _liquidations(asset: str, records: list[Record]) -> dict[str, Any]:
    longs = [micro_usd(r.vol_usd) for r in records if r.side == 1]
    shorts = [micro_usd(r.vol_usd) for r in records if r.side == 2]
    return {
        "asset": asset,
        "long_usd": usd(sum(longs)),
        "short_usd": usd(sum(shorts)),
        "total_usd": usd(sum(longs) + sum(shorts)),
        "largest_usd": usd(max(longs + shorts)),
        "long_count": len(longs),
        "short_count": len(shorts),
    }


def _imbalance(market: Market, records: list[Record]) -> dict[str, Any]:
    sells = [micro_usd(r.vol_usd) for r in records if r.side == 1]
    buys = [micro_usd(r.vol_usd) for r in records if r.side == 2]
    net, total = sum(buys) - sum(sells), sum(buys) + sum(sells)
    by_time = sorted(records, key=lambda r: r.time)  # a stable sort: ties stay in the order of arrival
    quantity = 0.0
    for record in records:
        quantity += record.vol_usd / record.price
    close = by_time[-1].price
    low, high = min(r.price for r in records), max(r.price for r in records)
    return {
        "exchange": market.exchange,
        "symbol": market.symbol,
        "base_asset": records[0].base_asset,
        "min_vol_usd": market.min_vol_usd,
        "buy_usd": usd(sum(buys)),
        "sell_usd": usd(sum(sells)),
        "net_usd": usd(net),
        "buy_count": len(buys),
        "sell_count": len(sells),
        "imbalance": float(Fraction(net, total)) if total else 0.0,
        "open": by_time[0].price,
        "high": high,
        "low": low,
        "close": close,
        "vwap": sorted((low, usd(total) / quantity if quantity else close, high))[1],
        "coverage": None,
    }
