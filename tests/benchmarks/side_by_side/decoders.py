"""Each engine's finals from the messages it writes: (name, window start ms) and [usd 1, usd 2, count 1, count 2]."""

import io
import json
import pathlib
import struct

import fastavro


def kafka_streams(message):
    """Two doubles and two longs, under name@start."""
    name, _, start_ms = message.key().decode().rpartition("@")
    yield (name, int(start_ms)), list(struct.unpack(">ddqq", message.value()))


def flink(message):
    """One JSON row; the Bytewax peer writes the same."""
    row = json.loads(message.value())
    yield (row["name"], row["start"]), [row["usd1"], row["usd2"], row["n1"], row["n2"]]


def quix(message):
    """One JSON value for a channel, which holds a cell for each asset."""
    window = json.loads(message.value())
    channel = message.key().decode()
    for asset, cell in window["value"]["assets"].items():
        yield (asset if channel == "liquidationOrders" else channel, window["start"]), cell


def ours(schemas):
    """Return a decoder of Avro in single-object encoding (10 bytes before it) or the Confluent wire format (5)."""
    parsed = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(schemas).rglob("*.avsc")}
    volume, imbalance = (fastavro.parse_schema(parsed[name]) for name in ("liquidation_volume", "trade_imbalance"))

    def decode(message):
        value = message.value()
        body = io.BytesIO(value[10 if value[:2] == b"\xc3\x01" else 5 :])
        if "liquidation-volume" in message.topic():
            final = fastavro.schemaless_reader(body, volume)
            cell = [final[name] for name in ("long_usd", "short_usd", "long_count", "short_count")]
            yield (final["asset"], _ms(final["window_start"])), cell
        else:
            final = fastavro.schemaless_reader(body, imbalance)
            channel = f"futures_trades@{final['exchange']}_{final['symbol']}@{final['min_vol_usd']:g}"
            cell = [final[name] for name in ("sell_usd", "buy_usd", "sell_count", "buy_count")]
            yield (channel, _ms(final["window_start"])), cell

    return decode


def _ms(value):
    return int(value.timestamp() * 1000) if hasattr(value, "timestamp") else int(value)
