"""Two hours of a market that never was, as an export: what `coinglass-streams export` would have made of the topics.

Seeded: the same files every time. One partition a topic, a frame a second, a feed mark every five seconds.
"""

from pathlib import Path

import msgspec

from processors.archive.files import ParquetWriter, Whole, sha256
from processors.archive.manifest import ArchivedFile, Manifest, store_manifest
from sandbox.simulate.market import Market
from schemas.channels import LIQUIDATIONS
from schemas.topics import MARK_KEY, Topics

BEGIN_MS = 1_725_408_000_000  # 2024-09-04T00:00:00Z
SECONDS = 7_200
TRADES = "futures_trades@Binance_BTCUSDT@10000"
CHANNELS = [LIQUIDATIONS, TRADES]


def write_sample(folder: Path, seed: int = 7) -> None:
    """Write the export into a new folder."""
    topics = Topics()
    records: dict[str, list[Whole]] = {topic: [] for topic in topics.raw}

    def append(topic: str, at_ms: int, key: bytes, value: bytes) -> None:
        records[topic].append(Whole(len(records[topic]), at_ms, key, value, ()))

    market = Market(seed, BEGIN_MS)
    market.listen(CHANNELS)
    for second in range(SECONDS):
        at_ms = BEGIN_MS + second * 1_000
        if second % 5 == 0:
            mark = _mark("alive" if second else "up", at_ms)
            for topic in topics.raw:
                append(topic, at_ms, MARK_KEY, mark)
        for frame in market.frames(at_ms + 500, 2):
            topic = topics.raw_liquidations if frame.channel == LIQUIDATIONS else topics.raw_trades
            append(topic, at_ms + 500, frame.channel.encode(), msgspec.json.encode(frame))
    folder.mkdir(parents=True)
    files = tuple(_write(folder, topic, some) for topic, some in records.items())
    store_manifest(folder, Manifest("parquet", dict.fromkeys(records, 1), files=files))


def _mark(kind: str, at_ms: int) -> bytes:
    mark = {"kind": kind, "at_ms": at_ms, "heard_at_ms": at_ms, "connection": "sample", "channels": CHANNELS}
    return msgspec.json.encode(mark)


def _write(folder: Path, topic: str, records: list[Whole]) -> ArchivedFile:
    path = folder / f"{topic}.parquet"
    writer = ParquetWriter(path, topic, 0)
    writer.write(records)
    writer.close()
    return ArchivedFile(
        path=path.name,
        topic=topic,
        partition=0,
        first_offset=0,
        next_offset=len(records),
        rows=len(records),
        marks=sum(record.key == MARK_KEY for record in records),
        received_ms_min=records[0].timestamp,
        received_ms_max=records[-1].timestamp,
        sha256=sha256(path),
    )
