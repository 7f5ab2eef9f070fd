"""Args: broker, input topic, output topic, state dir. A channel's records, 1-minute tumbling, finals."""

import sys
import time
from datetime import timedelta

from quixstreams import Application
from quixstreams.models import TopicConfig

broker, source, sink, state_dir = sys.argv[1:5]
app = Application(
    broker_address=broker,
    consumer_group=f"peer-quix-{int(time.time())}",
    auto_offset_reset="earliest",
    state_dir=state_dir,
    loglevel="WARNING",
    processing_guarantee="exactly-once",
)
sdf = app.dataframe(app.topic(source, value_deserializer="json", key_deserializer="str"))
sdf = sdf.apply(lambda frame: frame["data"], expand=True)
sdf = sdf.set_timestamp(lambda record, key, timestamp, headers: record["time"])


def start(record):
    return add({"usd1": 0.0, "usd2": 0.0, "n1": 0, "n2": 0, "assets": {}}, record)


def add(total, record):
    """Liquidations share one key (their channel), so the per-asset sums live inside the window's value."""
    side = record["side"]
    cell = total["assets"].setdefault(record["baseAsset"], [0.0, 0.0, 0, 0])
    cell[side - 1] += record["volUsd"]
    cell[side + 1] += 1
    return total


sdf = (
    sdf.tumbling_window(timedelta(minutes=1), grace_ms=5000)
    .reduce(reducer=add, initializer=start)
    .final(closing_strategy="partition")
)
sdf.to_topic(app.topic(sink, value_serializer="json", config=TopicConfig(num_partitions=4, replication_factor=1)))
app.run()
