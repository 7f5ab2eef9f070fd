"""Frames made by parameters, and records as a worker's consumer hands them over."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from processors.engine.step import SourceRecord
from tests.benchmarks.side_by_side import frames as feed

#: Frames that a market has in a window, however many markets there are.
FRAMES_A_WINDOW = 10
WINDOW_MS = 60_000


@dataclass(frozen=True)
class Shape:
    """What frames look like."""

    channels: int = 40
    records: int = 2  # in each frame

    def frame_ms(self) -> float:
        """Return how much event time passes from one frame to the next."""
        return WINDOW_MS / FRAMES_A_WINDOW / self.channels


Line = tuple[bytes, bytes, int]  # key, value, ms when it was received


def shaped(shape: Shape, count: int, start_ms: int, seed: int = 7) -> Iterator[Line]:
    """Yield trades that come from all channels in turn, in another order each time.

    Each is made by filling in a template, at 400,000 a second: so that writing them is no slower than reading.
    """
    rnd = random.Random(seed)
    templates = [_template(number, shape.records, rnd) for number in range(shape.channels)]
    rnd.shuffle(templates)
    times = shape.records
    for number in range(count):
        if number % shape.channels == 0:
            rnd.shuffle(templates)
        now_ms = start_ms + int(number * shape.frame_ms())
        key, form = templates[number % shape.channels]
        yield key, form % ((now_ms,) * times), now_ms


def _template(number: int, records: int, rnd: random.Random) -> tuple[bytes, bytes]:
    asset = f"A{number}"
    channel = f"futures_trades@Binance_{asset}USDT@10000"
    price = 10 ** rnd.uniform(-2, 5)
    items = ",".join(
        f'{{"baseAsset":"{asset}","exName":"Binance","price":{price * rnd.gauss(1, 1e-3):.6g},'
        f'"side":{rnd.randrange(1, 3)},"symbol":"{asset}USDT","time":%d,'
        f'"volUsd":{10_000 * rnd.paretovariate(1.2):.5f}}}'
        for _ in range(records)
    )
    return channel.encode(), f'{{"channel":"{channel}","data":[{items}]}}'.encode()


def of_the_feed(count: int, seed: int = 7) -> list[Line]:
    """Return the side-by-side bench's frames: a fifth liquidations, the rest trades on 40 unequal channels."""
    lines, step_ms, start_ms = [], 8.0, 1_725_416_318_379
    for number, (channel, frame) in enumerate(feed.frames(count, seed, float(start_ms), step_ms)):
        lines.append((channel.encode(), frame.encode(), start_ms + int(number * step_ms) + 10_000))
    return lines


def fetched(lines: Iterable[Line], batch_bytes: int = 512 << 10) -> list[SourceRecord]:
    """Return the very objects that aiokafka unpacks from a broker's answer, which a worker gets to work on."""
    records: list[SourceRecord] = []
    builder, offset = _builder(batch_bytes), 0
    for key, value, at_ms in lines:
        if builder.append(offset, at_ms, key, value, []) is None:
            records.extend(DefaultRecordBatch(bytes(builder.build())))
            builder, offset = _builder(batch_bytes), 0
            builder.append(offset, at_ms, key, value, [])
        offset += 1
    records.extend(DefaultRecordBatch(bytes(builder.build())))
    return records


def _builder(batch_bytes: int) -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=batch_bytes,
    )
