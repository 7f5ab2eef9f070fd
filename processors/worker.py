"""Runs one worker: topics made, schemas registered, the Faust app started, and everything drained at the end."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import faust
import structlog

from broker.admin import connected, ensure_topics
from processors.app import create_app, tables_by_topic
from processors.collector import spare_the_collector
from processors.engine.engine import Engine
from processors.pipeline import PipelineSettings
from processors.settings import WorkerSettings
from schemas.errors import OperationError
from schemas.topics import TopicSpec

log = structlog.get_logger(__name__)

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

#: Rows are written over and over: compaction must come soon enough that recovery reads little.
CHANGELOG_CONFIGS = (
    ("cleanup.policy", "compact"),
    ("max.message.bytes", str(8 << 20)),
    ("segment.bytes", str(4 << 20)),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.2"),
    ("max.compaction.lag.ms", "1200000"),
    ("delete.retention.ms", "60000"),
)


def run_worker(settings: WorkerSettings) -> None:
    """Run until a signal; returns after draining. Raises StreamsError where it cannot start."""
    _make_folder(settings.state_dir)
    raw_partitions = asyncio.run(_prepare_topics(settings))
    windows = settings.window_sizes
    pipeline = PipelineSettings(
        topics=settings.topics,
        windows=windows,
        grace_ms=settings.grace.ms,
        mark_delay_ms=settings.mark_delay.ms,
        assume_coverage=settings.assume_coverage,
        headers=_registered_headers(settings),
    )
    engine = create_app(settings, pipeline, raw_partitions)
    spare_the_collector()
    log.info(
        "worker.starting",
        app_id=settings.app_id,
        member=settings.member or "dynamic",
        broker=settings.bootstrap,
        web=f"http://{settings.web_host}:{settings.web_port}/",
    )
    if settings.web_token is None and settings.web_host not in _LOOPBACK:
        log.warning("worker.web_open", host=settings.web_host, remedy="--web-token-file asks for a token")
    _run_until_signal(engine)


def _run_until_signal(engine: Engine) -> None:
    worker = faust.Worker(engine.app, quiet=True, override_logging=False, redirect_stdouts=False)

    @engine.app.on_before_shutdown.connect
    async def hear_no_more_signals(*_: object, **__: object) -> None:
        # Stopping goes its way from here. A second signal, such as a supervisor's, would meet the default handlers
        # that the loop leaves behind when it closes, and end the process with the signal's status.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as exit_:
        if exit_.code:
            raise OperationError(f"the worker ended with status {exit_.code}; the log lines above say why") from exit_
    log.info("worker.stopped")


def _registered_headers(settings: WorkerSettings) -> Mapping[str, bytes]:
    if settings.schema_registry is None:
        return {}
    from processors.registry import registered_headers  # its client takes long to import, and most do without

    return registered_headers(settings.schema_registry, settings.topics, settings.window_sizes)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(
            f"the folder {folder} cannot be made ({error.strerror}): choose another --state-dir"
        ) from error


async def _prepare_topics(settings: WorkerSettings) -> dict[str, int]:
    """Make the topics that are missing, and return how many partitions each raw topic has."""
    async with connected(settings.bootstrap) as client:
        topics = settings.topics
        raw = await ensure_topics(client, topics.raw_specs())
        results = await ensure_topics(client, topics.result_specs(settings.windows))
        specs = _changelog_specs(settings, raw.partitions)
        changelogs = await ensure_topics(client, specs)
    for spec in specs:
        stands = changelogs.partitions[spec.name]
        if stands != spec.partitions:
            raise OperationError(
                f"{spec.name} has {stands} partitions and its raw topic {spec.partitions}: keys have moved, "
                "so this state cannot go on; use a new --app-id"
            )
    if made := raw.made + results.made + changelogs.made:
        log.info("worker.topics_made", topics=" ".join(made))
    return dict(raw.partitions)


def _changelog_specs(settings: WorkerSettings, raw_partitions: Mapping[str, int]) -> Sequence[TopicSpec]:
    return [
        TopicSpec(f"{settings.app_id}-{table}-changelog", raw_partitions[topic], CHANGELOG_CONFIGS)
        for topic, table in tables_by_topic(settings.topics).items()
    ]
