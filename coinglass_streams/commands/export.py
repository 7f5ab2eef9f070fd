"""`coinglass-streams export`: raw topics to files."""

import time
from pathlib import Path
from typing import Any

import click
import structlog

from coinglass_streams import options
from coinglass_streams.options import option
from coinglass_streams.progress import progress
from coinglass_streams.signals import run_until_signal
from schemas.topics import Topics

log = structlog.get_logger(__name__)


@click.command()
@options.on_kafka
@option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill.")
@option("--format", "format_", type=click.Choice(["parquet", "avro"]), default="parquet", help="Parquet or Avro.")
@option("--from", "from_", help="First moment of receive time: ISO 8601 in UTC, or so long ago, such as -24h.")
@option("--until", help="First moment after, likewise.")
def export(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    folder: Path,
    format_: Any,
    from_: str | None,
    until: str | None,
) -> None:
    """Write the raw topics to files, as they stand now; run again, it goes on where its complete files end."""
    del schema_registry
    import asyncio

    from processors.archive.export import ExportSettings
    from processors.archive.export import export as export_topics
    from processors.replay.ranges import Range
    from schemas.moments import parse_moment

    now_ms = time.time_ns() // 1_000_000
    span = Range(
        None if from_ is None else parse_moment(from_, now_ms), None if until is None else parse_moment(until, now_ms)
    )
    settings = ExportSettings(broker, topics, folder, format_, span.from_ms, span.to_ms)

    async def run() -> None:
        with progress("export", None) as tell:
            manifest = await export_topics(settings, lambda records: tell(records, ""))
        log.info("export.done", files=len(manifest.files), records=sum(file.rows for file in manifest.files))

    asyncio.run(run_until_signal(run()))
