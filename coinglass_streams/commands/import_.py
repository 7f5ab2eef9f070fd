"""`coinglass-streams import`: exported files to raw topics."""

import asyncio
from pathlib import Path

import click
import structlog

from coinglass_streams import options
from coinglass_streams.options import option
from coinglass_streams.progress import progress
from coinglass_streams.signals import run_until_signal
from schemas.topics import Topics

log = structlog.get_logger(__name__)


@click.command("import")
@options.on_kafka
@option("--input", "folder", type=click.Path(path_type=Path), required=True, help="Folder with an export.")
def import_(broker: str, topics: Topics, schema_registry: str | None, folder: Path) -> None:
    """Write an export to raw topics, as its records were; run again, it goes on where it was cut short."""
    del schema_registry
    from processors.archive.restore import ImportSettings, restore

    async def run() -> None:
        with progress("import", None) as tell:
            written = await restore(ImportSettings(broker, topics, folder), lambda records: tell(records, ""))
        log.info("import.done", records=written)

    asyncio.run(run_until_signal(run()))
