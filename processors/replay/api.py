"""Replays from Python: finals as typed objects, in the order in which the live system could have known them.

for final in replay(windows=["1m"], from_="-24h"):
    ...
"""

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from processors.pipeline import PipelineSettings
from processors.replay.kinds import final_kinds
from processors.replay.ordered import Replayed
from processors.replay.ranges import Clock, Range
from processors.replay.results import Final, arrow_table, row, typed
from processors.replay.session import make_plan, running
from processors.replay.settings import ReplaySettings
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.errors import UsageError
from schemas.moments import parse_moment
from schemas.topics import DEFAULT_PREFIX, Topics

#: Pieces of the replay that wait for whoever reads it.
PIECES_WAITING_MAX = 4


def replay(
    *,
    broker: str = "127.0.0.1:9092",
    topic_prefix: str = DEFAULT_PREFIX,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - as the command's flag
    from_: str | None = None,
    to: str | None = None,
    clock: Clock = "receive",
    windows: Iterable[str] = ("1m",),
    grace: str = "5s",
    mark_delay: str = "10s",
    assume_coverage: bool = False,
    channels: Iterable[str] = (),
    assets: Iterable[str] = (),
    flush: bool = False,
    jobs: int = 1,
) -> "Replay":
    """Return a replay of the raw topics under a prefix, or of an export (`input`); the arguments are the command's.

    Nothing is read before it is iterated over; each iteration is a run of its own. Raises UsageError for arguments that
    cannot be, and while iterating OperationError where the broker or the files are not as they should be.
    """
    now_ms = time.time_ns() // 1_000_000
    sizes = window_sizes(tuple(parse_duration(text) for text in windows))
    topics = Topics(topic_prefix)
    pipeline = PipelineSettings(
        topics=topics,
        windows=sizes,
        grace_ms=parse_duration(grace).ms,
        mark_delay_ms=parse_duration(mark_delay).ms,
        assume_coverage=assume_coverage,
    )
    span = Range(
        from_ms=None if from_ is None else parse_moment(from_, now_ms),
        to_ms=None if to is None else parse_moment(to, now_ms),
        clock=clock,
    )
    return Replay(
        ReplaySettings(
            pipeline=pipeline,
            source=topics,
            bootstrap=broker,
            input=None if input is None else Path(input),
            range=span,
            flush=flush,
            channels=frozenset(channels),
            assets=frozenset(assets),
            jobs=jobs,
        )
    )


class Replay:
    """Finals of a stretch of the past, ordered by `available_at_ms`; iterate over it, or take it as a table."""

    def __init__(self, settings: ReplaySettings) -> None:
        self._settings = settings
        self._kinds = final_kinds(settings.pipeline)

    def __iter__(self) -> Iterator[Final]:
        """Yield finals as they are replayed: LiquidationVolume and TradeImbalance."""
        for one in self._finals():
            yield typed(one, self._kinds[one.result.topic])

    def to_arrow(self, aggregate: str | None = None) -> Any:
        """Return a `pyarrow.Table` of one aggregate's finals, such as `trade-imbalance`.

        Without a name, of all: with a column `aggregate`, and nulls where an aggregate has no such field.
        """
        known = {kind.aggregate.name for kind in self._kinds.values()}
        if aggregate is not None and aggregate not in known:
            raise UsageError(f"{aggregate!r} is no aggregate: use one of {', '.join(sorted(known))}")
        rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in sorted(known if aggregate is None else {aggregate})
        }
        for one in self._finals():
            kind = self._kinds[one.result.topic]
            if kind.aggregate.name in rows:
                rows[kind.aggregate.name].append(row(one, kind))
        tables = {name: arrow_table(name, some) for name, some in rows.items()}
        if aggregate is not None:
            return tables[aggregate]
        named = [t.add_column(0, "aggregate", pa.array([name] * len(t), pa.string())) for name, t in tables.items()]
        return pa.concat_tables(named, promote_options="default").sort_by("available_at_ms")

    def to_pandas(self, aggregate: str | None = None) -> Any:
        """Return a `pandas.DataFrame`, as `to_arrow`; pandas must be installed."""
        return self.to_arrow(aggregate).to_pandas()

    def to_polars(self, aggregate: str | None = None) -> Any:
        """Return a `polars.DataFrame`, as `to_arrow`; polars must be installed."""
        import polars

        return polars.from_arrow(self.to_arrow(aggregate))

    def _finals(self) -> Iterator[Replayed]:
        for results in _in_a_thread(self._settings):
            for one in results:
                if one.result.topic in self._kinds:
                    yield one


def _in_a_thread(settings: ReplaySettings) -> Iterator[list[Replayed]]:
    """Yield a replay's results piece by piece.

    It runs in a thread of its own, with an event loop of its own: a notebook's thread has a running one already.
    """
    pieces: queue.Queue[list[Replayed] | BaseException | None] = queue.Queue(PIECES_WAITING_MAX)
    stopped = threading.Event()

    def put(piece: list[Replayed] | BaseException | None) -> bool:
        """Whether anybody still reads."""
        while not stopped.is_set():
            try:
                pieces.put(piece, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            with running(settings, make_plan(settings)) as steps:
                for step in steps:
                    if stopped.is_set() or (step.results and not put(step.results)):
                        return
            put(None)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever iterates
            put(error)

    thread = threading.Thread(target=work, name="replay", daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stopped.set()
        thread.join()
