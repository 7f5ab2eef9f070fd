"""`coinglass-streams replay`: raw topics or exported files through the worker's own pipeline."""

import asyncio
import hashlib
import os
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from coinglass_streams import options
from coinglass_streams.options import DurationParam, PrefixParam, option
from coinglass_streams.progress import progress
from coinglass_streams.signals import interrupted_by_signals
from schemas.durations import Duration
from schemas.errors import OperationError, UsageError
from schemas.topics import Topics

if TYPE_CHECKING:
    from processors.replay.plan import Plan
    from processors.replay.settings import ReplaySettings
    from processors.replay.sinks.sink import Sink
    from processors.replay.verify import Verdict

log = structlog.get_logger(__name__)

DIFFERENCES_SHOWN_MAX = 20


@click.command()
@options.on_kafka
@option("--input", "input_", type=click.Path(path_type=Path), help="Replay an export in this folder, not the topics.")
@option("--from", "from_", help="First moment: ISO 8601 in UTC, or so long ago, such as -24h.")
@option("--to", help="First moment after the range, likewise.")
@option(
    "--clock",
    type=click.Choice(["receive", "event"]),
    default="receive",
    help="Whether the range is of receive time or of event time.",
)
@option("--channel", "channels", multiple=True, help="Give out results of this channel only; repeatable.")
@option("--asset", "assets", multiple=True, help="Give out results of this asset only; repeatable.")
@option("--window", "windows", type=DurationParam(), multiple=True, default=["1m"], help="Window length; repeatable.")
@option("--grace", type=DurationParam(), default="5s", help="As the worker's.")
@option("--mark-delay", type=DurationParam(), default="10s", help="As the worker's.")
@option("--assume-coverage", is_flag=True, help="As the worker's.")
@option("--flush", is_flag=True, help="At the end give out the windows that are open, marked partial.")
@option("--speed", default="max", help="max, 1x, 60x: how fast results are given out, by receive time.")
@option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes to spread the partitions over.")
@option("--to-parquet", type=click.Path(path_type=Path), help="Write finals to this new folder.")
@option("--to-topics", type=PrefixParam(), help="Write results to topics under this prefix, exactly once.")
@option(
    "--run-id", help="Name of the run in --to-topics, of which one run writes once; made of the flags if not given."
)
@option("--verify", is_flag=True, help="Compare with the finals in the topics, byte for byte; 1 if any differs.")
def replay(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    input_: Path | None,
    from_: str | None,
    to: str | None,
    clock: Any,
    channels: tuple[str, ...],
    assets: tuple[str, ...],
    windows: tuple[Duration, ...],
    grace: Duration,
    mark_delay: Duration,
    assume_coverage: bool,
    flush: bool,
    speed: str,
    jobs: int,
    to_parquet: Path | None,
    to_topics: Topics | None,
    run_id: str | None,
    verify: bool,
) -> int:
    """Give out the finals of a stretch of the past, as the live worker did or would have: JSON lines, if nothing else.

    The range is [from, to). Windows that its edges cut are marked partial.
    """
    from processors.pipeline import PipelineSettings
    from processors.replay.pace import parse_speed
    from processors.replay.ranges import Range
    from processors.replay.settings import ReplaySettings
    from processors.settings import check_delays
    from processors.windows import window_sizes
    from schemas.moments import is_relative, parse_moment

    if sum((to_parquet is not None, to_topics is not None, verify)) > 1:
        raise UsageError("--to-parquet, --to-topics and --verify: choose one")
    if to_topics is not None and to_topics.prefix == topics.prefix:
        raise UsageError(f"--to-topics {to_topics.prefix} is the prefix that is replayed: choose another")
    if to_topics is None and run_id is not None:
        raise UsageError("--run-id is of --to-topics only: give both")
    if run_id is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", run_id):
        raise UsageError(f"--run-id {run_id!r}: use 1 to 100 letters, digits, dots, dashes, underscores")
    relative = [text for text in (from_, to) if text is not None and is_relative(text)]
    if run_id is not None and relative:
        raise UsageError(f"--run-id with {relative[0]}: a run that can be taken up again needs ISO times")
    check_delays(grace, mark_delay)
    now_ms = time.time_ns() // 1_000_000
    sizes = window_sizes(windows)
    results = to_topics or topics
    settings = ReplaySettings(
        pipeline=PipelineSettings(
            topics=results,
            windows=sizes,
            grace_ms=grace.ms,
            mark_delay_ms=mark_delay.ms,
            assume_coverage=assume_coverage,
            headers=_headers(schema_registry, results, sizes),
        ),
        source=topics,
        bootstrap=broker,
        input=input_,
        range=Range(
            None if from_ is None else parse_moment(from_, now_ms),
            None if to is None else parse_moment(to, now_ms),
            clock,
        ),
        flush=flush,
        channels=frozenset(channels),
        assets=frozenset(assets),
        jobs=jobs,
    )
    with interrupted_by_signals():
        return _replay(settings, parse_speed(speed), to_parquet, to_topics, run_id, verify=verify)


def _headers(url: str | None, topics: Topics, sizes: Any) -> Any:
    if url is None:
        return {}
    from processors.registry import registered_headers

    return registered_headers(url, topics, sizes)


def _replay(
    settings: "ReplaySettings",
    speed: float | None,
    to_parquet: Path | None,
    to_topics: Topics | None,
    run_id: str | None,
    *,
    verify: bool,
) -> int:
    from processors.collector import spare_the_collector
    from processors.replay.session import make_plan, with_bounds
    from processors.replay.sinks.lines import Lines
    from processors.replay.sinks.parquet import ParquetFolder
    from processors.replay.verify import Verifier

    spare_the_collector()
    plan = make_plan(settings)
    if verify:
        verifier = Verifier(settings, plan)
        _drive(settings, plan, speed, verifier)
        return _tell(asyncio.run(verifier.verdict()))
    sink: Sink
    if to_parquet is not None:
        sink = ParquetFolder(settings.pipeline, to_parquet)
    elif to_topics is not None:
        from processors.replay.sinks.topics import Target, TopicsSink

        name = run_id or _run_id(settings, plan)
        topics_sink = TopicsSink(
            Target(settings.bootstrap, to_topics, settings.pipeline.windows, name), prompt=speed is not None
        )
        sink = topics_sink
    else:
        sink = Lines(settings.pipeline, sys.stdout.buffer)
    try:
        if to_topics is not None:
            bounds = topics_sink.open(plan, fixed=settings.input is not None)
            plan = with_bounds(plan, bounds) if bounds else plan
            log.info("replay.run", run=name, already_written=topics_sink.already_written)
        _drive(settings, plan, speed, sink)
        sink.commit()
    except BrokenPipeError:  # whoever read our lines has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException:
        sink.abandon()
        raise
    return 0


def _drive(settings: "ReplaySettings", plan: "Plan", speed: float | None, sink: Any) -> None:
    from processors.replay.pace import Pace
    from processors.replay.plan import total_records
    from processors.replay.session import running
    from schemas.moments import iso

    pace = Pace(speed, settings.range.from_ms if settings.range.clock == "receive" else None)
    records = results = 0
    with ExitStack() as stack:
        tell = stack.enter_context(progress("replay", total_records(plan)))
        for step in stack.enter_context(running(settings, plan)):
            for due in pace.due(step.results):
                sink.write(due)
            records += step.records
            results += len(step.results)
            tell(step.records, iso(step.cut[0]) if step.cut is not None and step.cut[0] >= 0 else "")
    if not results:
        log.warning("replay.empty", why="no window became final" if records else "the range holds no records")
    log.info("replay.done", records=records, results=results)


def _run_id(settings: "ReplaySettings", plan: "Plan") -> str:
    """Return a name made of all that decides the results: the same flags are the same run."""
    what = (
        settings.pipeline, settings.source, settings.range, settings.flush, sorted(settings.channels),
        sorted(settings.assets), [stretch.checksums for stretch in plan] if settings.input else None,
    )  # fmt: skip
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _tell(verdict: "Verdict") -> int:
    """Print how a comparison came out, and return the exit status."""
    from rich.console import Console
    from rich.table import Table

    from schemas.moments import iso

    summary = (
        f"{verdict.equal} finals are the same byte for byte, {len(verdict.differences)} differ, "
        f"{verdict.at_edges} of windows cut by the range were not compared"
    )
    if not verdict.differences:
        click.echo(summary)
        return 0
    table = Table("topic", "key", "window start", "difference")
    for one in verdict.differences[:DIFFERENCES_SHOWN_MAX]:
        topic, key, start_ms = one.identity
        table.add_row(topic, key.decode(errors="replace"), iso(start_ms), one.what)
    if len(verdict.differences) > DIFFERENCES_SHOWN_MAX:
        table.add_row("…", "", "", f"{len(verdict.differences) - DIFFERENCES_SHOWN_MAX} more")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    raise OperationError(summary)
