"""Raw records for tests: what a consumer hands over, without a broker."""

import json
from dataclasses import dataclass

from processors.pipeline import PartitionPipeline, PipelineSettings
from processors.windows import window_sizes
from schemas.codec import decode
from schemas.durations import parse_duration
from schemas.topics import MARK_KEY, Topics

NOW_MS = 1_725_416_400_000
LIQUIDATIONS = "liquidationOrders"
TRADES = "futures_trades@Binance_BTCUSDT@10000"
TOPIC = "coinglass.raw.trades"


@dataclass
class Raw:
    """One record of a raw topic."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple = ()


def item(time_ms, usd=1.0, side=1, price=100.0, asset="BTC", **changes):
    fields = {"baseAsset": asset, "exName": "Binance", "price": price, "side": side, "symbol": f"{asset}USDT"}
    return {**fields, "time": time_ms, "volUsd": usd, **changes}


def frame(*items, channel=LIQUIDATIONS, received=None, offset=0, **more):
    value = json.dumps({"channel": channel, "data": list(items), **more}).encode()
    times = [i["time"] for i in items if isinstance(i.get("time"), int)]
    return Raw(offset, received if received is not None else max(times, default=NOW_MS), channel.encode(), value)


def mark(kind, at_ms, heard_at_ms=None, connection="c1", channels=(LIQUIDATIONS,)):
    heard = at_ms if heard_at_ms is None else heard_at_ms
    body = {"kind": kind, "at_ms": at_ms, "heard_at_ms": heard, "connection": connection, "channels": list(channels)}
    return Raw(0, at_ms, MARK_KEY, json.dumps(body).encode())


def pipeline(*windows, **settings):
    sizes = window_sizes(tuple(parse_duration(w) for w in windows or ("1m",)))
    return PartitionPipeline(PipelineSettings(Topics(), sizes, **settings), TOPIC, 0)


def run(records, *windows, **settings):
    """Process records in one batch and return what was published, decoded: [(topic's name, key, value)]."""
    step = pipeline(*windows, **settings)
    step.process(records)
    return published(step.take())


def published(changes):
    schemas = {"liquidation-volume": "liquidation_volume", "trade-imbalance": "trade_imbalance", "late": "late_record"}
    out = []
    for result in changes.results:
        name = result.topic.removeprefix("coinglass.")
        schema = schemas.get(name.split(".")[0])
        value = decode(schema, result.value) if schema else {k: v.decode() for k, v in result.headers}
        out.append((name, (result.key or b"").decode(), value))
    return out
