"""Prometheus metrics, read off the engine and the pipelines when asked for: the hot path knows nothing of them."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from processors.engine.engine import Engine
from processors.engine.partition import OwnedPartition
from processors.pipeline import PartitionPipeline

PARTITION = ["topic", "partition"]

_COUNTERS = {
    "frames": "Frames read from the raw topics.",
    "records": "Records in those frames.",
    "unknown-fields": "Fields that the frame's schema does not know.",
    "marks": "Feed marks read.",
    "connections": "Connections of the feed that came up: all but a producer's first are reconnects.",
    "finals": "Windows published as final.",
    "late": "Records that came after a window of theirs was final, once for each window.",
}


def worker_registry(engine: Engine) -> CollectorRegistry:
    """Return the worker's metrics."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(WorkerCollector(engine))
    return registry


class WorkerCollector(Collector):
    """What the pipelines count is part of their state, and goes on with a partition's next owner.

    What is of the engine counts since this worker took a partition over.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: without this, registering would collect, and there is no consumer yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        owned = [
            ([tp.topic, str(tp.partition)], partition, partition.step)
            for tp, partition in self._engine.partitions.items()
        ]
        steps = [(labels, step) for labels, _, step in owned if isinstance(step, PartitionPipeline)]
        yield from _counters(steps)
        yield from _transactions([(labels, partition) for labels, partition, _ in owned])
        delay = GaugeMetricFamily(
            "coinglass_watermark_delay_seconds", "Now less the watermark; absent before the first.", labels=PARTITION
        )
        for labels, step in steps:
            if step.watermark_ms > 0:
                delay.add_metric(labels, time.time() - step.watermark_ms / 1e3)
        yield delay
        lag = GaugeMetricFamily("coinglass_lag_records", "Records between the log's end and us.", labels=PARTITION)
        for tp, records in self._engine.lags().items():
            lag.add_metric([tp.topic, str(tp.partition)], records)
        yield lag
        yield GaugeMetricFamily(
            "coinglass_ready", "1 once the state is recovered and the broker reached.", value=self._engine.ready
        )


def _counters(steps: list[tuple[list[str], PartitionPipeline]]) -> Iterator[Metric]:
    for name, text in _COUNTERS.items():
        counter = CounterMetricFamily(f"coinglass_{name.replace('-', '_')}", text, labels=PARTITION)
        for labels, step in steps:
            counter.add_metric(labels, step.counts[name])
        yield counter
    rejected = CounterMetricFamily(
        "coinglass_rejected", "Frames sent to the dead letters, once for each reason.", labels=[*PARTITION, "reason"]
    )
    for labels, step in steps:
        for name, count in step.counts.items():
            if name.startswith("rejected/"):
                rejected.add_metric([*labels, name.removeprefix("rejected/")], count)
    yield rejected


def _transactions(owned: list[tuple[list[str], OwnedPartition]]) -> Iterator[Metric]:
    batches = SummaryMetricFamily("coinglass_batch_records", "Raw records a batch.", labels=PARTITION)
    transactions = SummaryMetricFamily("coinglass_transaction_seconds", "From begin to commit.", labels=PARTITION)
    for labels, partition in owned:
        batches.add_metric(labels, partition.batches, partition.records)
        transactions.add_metric(labels, partition.transactions, partition.transaction_seconds)
    missing = CounterMetricFamily(
        "coinglass_missing_offsets",
        "Raw offsets that were gone, or never held a record, when we came to them.",
        labels=PARTITION,
    )
    for labels, partition in owned:
        missing.add_metric(labels, partition.missed)
    yield missing
    yield batches
    yield transactions
