"""A replay from plan to end, for the command line and for Python alike."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from aiokafka.structs import TopicPartition

from processors.replay.files import plan_files
from processors.replay.jobs import JobProcesses
from processors.replay.plan import Plan
from processors.replay.run import LocalPartitions, Step, Streams, merged
from processors.replay.settings import ReplaySettings
from processors.replay.topics import plan_topics

Told = Callable[[Step], None]


def make_plan(settings: ReplaySettings) -> Plan:
    """Return what a replay reads. Raises OperationError where there is nothing to read from."""
    if settings.input is not None:
        return plan_files(settings)
    return asyncio.run(plan_topics(settings))


def with_bounds(plan: Plan, bounds: dict[TopicPartition, tuple[int, int]]) -> Plan:
    """Return a plan that reads what an earlier run of it settled on: `[begin, end)` of each partition."""
    return tuple(
        replace(stretch, begin=bounds[stretch.tp][0], end=bounds[stretch.tp][1], cut=bounds[stretch.tp][0] > 0)
        for stretch in plan
    )


@contextmanager
def running(settings: ReplaySettings, plan: Plan) -> Iterator[Iterator[Step]]:
    """Yield the steps of a replay; whatever it opened is closed at the end."""
    streams: Streams = (
        JobProcesses(settings, plan) if settings.jobs > 1 and len(plan) > 1 else LocalPartitions(settings, plan)
    )
    try:
        yield merged(streams)
    finally:
        streams.close()
