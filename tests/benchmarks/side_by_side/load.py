"""Topics made, filled with frames, and taken away again."""

import json

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from oracle import LIQUIDATIONS

PARTITIONS = 4
CLOSING_CHANNELS = (LIQUIDATIONS, "futures_trades@Bench_CLOSEUSDT@0")


def make_topics(broker, *names):
    """Make topics; those that stand already are left as they are."""
    admin = AdminClient({"bootstrap.servers": broker})  # by name: without one it would be gone before the answers
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def delete_topics(broker, prefix):
    """Delete every topic whose name holds the run's prefix: a run at a million frames fills half a gigabyte."""
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 4})  # not of what it leaves behind
    names = [name for name in admin.list_topics(timeout=10).topics if prefix in name]
    for future in (admin.delete_topics(names) if names else {}).values():
        future.result()


def load(broker, lines, topic_of):
    """Write all frames, and behind them in every partition frames that close every window."""
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 2_000_000,
            "partitioner": "murmur2_random",  # as Java's clients: all engines' own topics are keyed so
        }
    )
    last_ms = 0
    for number, (channel, frame) in enumerate(lines):
        producer.produce(topic_of(channel), frame, channel)
        if number % 5_000 == 0:
            producer.poll(0)
            last_ms = max(last_ms, json.loads(frame)["data"][0]["time"])
    producer.flush()
    for channel in CLOSING_CHANNELS:
        for partition in range(PARTITIONS):
            producer.produce(topic_of(channel), closing_frame(channel, last_ms), channel, partition=partition)
    producer.flush()


def closing_frame(channel, last_ms):
    """Return a frame far enough ahead in event time to close every window before it."""
    record = {"baseAsset": "CLOSE", "exName": "Bench", "price": 1.0, "side": 1, "symbol": "CLOSEUSDT"}
    record |= {"time": last_ms + 600_000, "volUsd": 1.0}
    return json.dumps({"channel": channel, "data": [record]}, separators=(",", ":"))
