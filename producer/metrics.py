"""What the producer counts, for Prometheus. Read when asked for: counting costs a frame nothing."""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from producer.buffer import Buffer
from producer.stats import Stats
from schemas.errors import OperationError

METRICS_HOST = "127.0.0.1"
CHANNELS_SHOWN_MAX = 200
_PREFIX = "coinglass_producer_"


class StatsCollector(Collector):
    """Turns the plain counts into metrics."""

    def __init__(self, stats: Stats, buffer: Buffer) -> None:
        self._stats = stats
        self._buffer = buffer

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand."""
        stats = self._stats
        for name, text, value in (
            ("frames", "Messages received that are frames or dead letters.", stats.frames),
            ("bytes", "Bytes of those messages.", stats.bytes),
            ("notices", "Acknowledgements, notices and errors received, not published.", stats.notices),
            ("attempts", "Attempts to reach the feed.", stats.attempts),
            ("reconnects", "Connections to the feed in the place of one that was lost.", stats.reconnects),
            ("published", "Records acknowledged by Kafka; a mark counts once a partition.", stats.published),
            ("refused", "Records that the broker would never take, shown as missing coverage.", stats.refused),
            ("spooled", "Entries written to the spool as the broker did not take them.", stats.spooled),
            ("recovered", "Entries that an earlier producer had left in a spool.", stats.recovered),
            ("spool_lost", "Entries in a spool that could not be read, shown as missing coverage.", stats.spool_lost),
            ("producer_renewals", "Kafka producers replaced after a refused batch.", stats.renewals),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)
        letters = CounterMetricFamily(_PREFIX + "dead_letters", "Messages sent to the dead letters.", labels=["reason"])
        for reason, count in sorted(stats.dead_letters.items()):
            letters.add_metric([reason], count)
        yield letters
        dropped = CounterMetricFamily(
            _PREFIX + "dropped_frames", "Frames dropped, shown as missing coverage.", labels=["reason"]
        )
        for reason, count in sorted(stats.dropped.items()):
            dropped.add_metric([reason], count)
        yield dropped
        yield GaugeMetricFamily(
            _PREFIX + "connected", "Connections that are subscribed just now.", value=stats.connected
        )
        yield from _channels(stats)
        yield GaugeMetricFamily(
            _PREFIX + "buffer_bytes", "Bytes received and not acknowledged by Kafka.", value=self._buffer.used_bytes
        )
        yield GaugeMetricFamily(_PREFIX + "buffer_bytes_max", "The buffer's bound.", value=self._buffer.bytes_max)
        yield GaugeMetricFamily(_PREFIX + "spool_bytes", "Disk that waiting entries take.", value=stats.spool_bytes)
        yield GaugeMetricFamily(_PREFIX + "spool_bytes_max", "The spool's bound.", value=stats.spool_bytes_max)


def _channels(stats: Stats) -> Iterator[Metric]:
    """Yield what is known of the channels, each connection's as of its last second."""
    parts = list(stats.parts)
    for name, text, value in (
        ("quiet_channels", "Channels silent for longer than they ever were.", sum(p.quiet_channels for p in parts)),
        ("refused_channels", "Channels that the feed refused.", sum(p.refused_channels for p in parts)),
    ):
        yield GaugeMetricFamily(_PREFIX + name, text, value=value)
    silent = GaugeMetricFamily(
        _PREFIX + "channel_silent_seconds",
        f"Seconds on a connection without a frame, of the {CHANNELS_SHOWN_MAX} channels silent for longest.",
        labels=["channel"],
    )
    silences_ms = {name: ms for part in parts for name, ms in part.silences_ms.items()}
    for name in heapq.nlargest(CHANNELS_SHOWN_MAX, silences_ms, key=silences_ms.__getitem__):
        silent.add_metric([name], silences_ms[name] / 1000)
    yield silent


class Metrics:
    """The registry, and the one metric that is measured rather than counted."""

    def __init__(self, stats: Stats, buffer: Buffer) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(StatsCollector(stats, buffer))
        self.ack_seconds = Histogram(
            _PREFIX + "ack_seconds",
            "From handing a batch to the Kafka client to its acknowledgement.",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120),
            registry=self.registry,
        )


@contextmanager
def served(metrics: Metrics, port: int | None) -> Iterator[None]:
    """Serve /metrics on the loopback address meanwhile, if there is a port. Raises OperationError for a taken one."""
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, METRICS_HOST, metrics.registry)
    except OSError as error:
        raise OperationError(
            f"port {port} of {METRICS_HOST} cannot be served on ({error.strerror}): choose another with --metrics-port"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        assert isinstance(thread, threading.Thread)
        thread.join()
