"""What the producer counts, for Prometheus. Read when asked for: counting costs a frame nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from producer.buffer import Buffer
from producer.stats import DELAY_BOUNDS_MS, Delays, Stats
from schemas.errors import OperationError

METRICS_HOST = "127.0.0.1"
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
            ("reconnects", "Connections to the feed after the first.", max(0, stats.connections - 1)),
            ("published", "Records acknowledged by Kafka; a mark counts once a partition.", stats.published),
            ("refused", "Records that the broker would never take, shown as missing coverage.", stats.refused),
            ("producer_renewals", "Kafka producers replaced after a refused batch.", stats.renewals),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)
        letters = CounterMetricFamily(_PREFIX + "dead_letters", "Messages sent to the dead letters.", labels=["reason"])
        for reason, count in sorted(stats.dead_letters.copy().items()):
            letters.add_metric([reason], count)
        yield letters
        dropped = CounterMetricFamily(
            _PREFIX + "dropped_frames", "Frames dropped, shown as missing coverage.", labels=["reason"]
        )
        for reason, count in sorted(stats.dropped.copy().items()):
            dropped.add_metric([reason], count)
        yield dropped
        yield _delays(stats.delays)
        yield GaugeMetricFamily(_PREFIX + "connected", "1 while the feed is subscribed.", value=int(stats.connected))
        yield GaugeMetricFamily(
            _PREFIX + "buffer_bytes", "Bytes received and not acknowledged by Kafka.", value=self._buffer.used_bytes
        )
        yield GaugeMetricFamily(_PREFIX + "buffer_bytes_max", "The buffer's bound.", value=self._buffer.bytes_max)


def _delays(delays: Delays) -> HistogramMetricFamily:
    """Return the delays as Prometheus has them: each bucket holds those of the ones before it."""
    bounds = [*(str(ms / 1_000) for ms in DELAY_BOUNDS_MS), "+Inf"]
    buckets = list(zip(bounds, accumulate(delays.counts), strict=True))
    return HistogramMetricFamily(
        _PREFIX + "frame_seconds",
        "From receiving a frame to its acknowledgement by Kafka.",
        buckets=buckets,
        sum_value=delays.sum_ms / 1_000,
    )


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
