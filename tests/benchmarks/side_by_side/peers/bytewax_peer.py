"""Args: broker, input topic, output topic, state dir. Records keyed by partition, 1-minute tumbling, finals."""

import pathlib
import sys
from datetime import UTC, datetime, timedelta

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing as win
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

broker, source, sink, state_dir = sys.argv[1:5]
EPOCH = datetime.fromtimestamp(0, UTC)


def records(messages):
    for message in messages:
        frame = orjson.loads(message.value)
        liquidation, partition = frame["channel"] == "liquidationOrders", str(message.partition)
        for record in frame["data"]:
            yield partition, (record["baseAsset"] if liquidation else frame["channel"], record)


def add(cells, item):
    """A watermark belongs to a key here: the key is the partition, and a window's value holds the sums per name."""
    name, record = item
    cell = cells.setdefault(name, [0.0, 0.0, 0, 0])
    cell[record["side"] - 1] += record["volUsd"]
    cell[record["side"] + 1] += 1
    return cells


def finals(item):
    _, (window, cells) = item
    for name, (usd1, usd2, n1, n2) in cells.items():
        value = {"name": name, "start": window * 60_000, "usd1": usd1, "usd2": usd2, "n1": n1, "n2": n2}
        yield KafkaSinkMessage(name.encode(), orjson.dumps(value))


# A clock that stands still: else a watermark also moves with the machine's time while its partition waits to be read.
clock = win.EventClock(
    lambda item: datetime.fromtimestamp(item[1]["time"] / 1000, UTC),
    timedelta(seconds=5),
    now_getter=lambda: EPOCH,
    to_system_utc=lambda _: None,
)
flow = Dataflow("peer")
stream = op.flat_map_batch("records", op.input("frames", flow, KafkaSource([broker], [source])), records)
windows = win.fold_window(
    "windows",
    stream,
    clock,
    win.TumblingWindower(timedelta(minutes=1), EPOCH),
    dict,
    add,
    lambda a, b: a | b,
    ordered=False,
)
op.output("out", op.flat_map("finals", windows.down, finals), KafkaSink([broker], sink))
init_db_dir(pathlib.Path(state_dir), 1)
cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(pathlib.Path(state_dir)))
