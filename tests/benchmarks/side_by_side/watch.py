"""An engine watched from outside: by what a `read_committed` consumer sees, or by committed offsets."""

import time
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition
from load import PARTITIONS
from processes import Used, used

#: After the last final: whatever is written twice would come in that time.
LINGER_SECONDS = 3


@dataclass
class Seen:
    """The finals that came."""

    finals: dict = field(default_factory=dict)
    arrivals: list = field(default_factory=list)  # (seconds by perf_counter, key)
    repeats: int = 0
    used: Used | None = None  # when the last came

    def take(self, key, cell):
        """Take note of one."""
        if key in self.finals:
            self.repeats += 1
            return
        self.finals[key] = cell
        self.arrivals.append((time.perf_counter(), key))


def finals(broker, topics, decode, expected, process, limit_s) -> Seen:
    """Read finals until all have come, and for a moment after the last."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": f"watch-{time.time()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "allow.auto.create.topics": False,
        }
    )
    deadline, seen = time.monotonic() + limit_s, Seen()
    consumer.assign([TopicPartition(topic, partition, 0) for topic in topics for partition in range(PARTITIONS)])
    while time.monotonic() < deadline and process.poll() is None:
        for message in consumer.consume(1000, 0.05):
            if message.error() or message.value() is None:
                continue
            for key, cell in decode(message):
                if key in expected:
                    seen.take(key, cell)
        if len(seen.finals) == len(expected) and seen.used is None:
            seen.used = used(process.pid)
            deadline = min(deadline, time.monotonic() + LINGER_SECONDS)
    consumer.close()
    seen.used = seen.used or used(process.pid)
    return seen


def frames_per_second(seen, weights):
    """Return the rate from the end of the first second of finals to the last.

    The first second is left out, as it is whatever the engine's first commit had gathered; of a run that is shorter
    than four seconds, its first quarter.
    """
    began, last = seen.arrivals[0][0], seen.arrivals[-1][0]
    settled = began + min(1.0, (last - began) / 4)
    first = max(at for at, _ in seen.arrivals if at <= settled)
    counted = sum(weights[key] for at, key in seen.arrivals if at > first)
    return counted / (last - first) if last > first else 0.0


def committed_rate(broker, group, topic, total, process, limit_s):
    """Return frames a second by committed offsets, for an engine that emits no finals."""
    asker = Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False})
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    deadline, first, last = time.monotonic() + limit_s, None, None
    while time.monotonic() < deadline and process.poll() is None:
        done, now = sum(max(0, place.offset) for place in asker.committed(places, 10)), time.perf_counter()
        if done:
            first = first or (now, done)
            last = (now, done) if last is None or done > last[1] else last
        if done >= total:
            break
        time.sleep(0.2)
    asker.close()
    return (last[1] - first[1]) / (last[0] - first[0]) if first and last and last[0] > first[0] else 0.0
