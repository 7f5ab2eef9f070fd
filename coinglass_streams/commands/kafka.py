"""`coinglass-streams kafka`: an embedded single-node Apache Kafka, until a signal comes."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from coinglass_streams import options
from coinglass_streams.options import option

if TYPE_CHECKING:
    from sandbox.kafka import KafkaSettings

log = structlog.get_logger()


@click.command()
@options.everywhere
@option("--port", type=click.IntRange(1, 65_535), default=9092, help="Port to listen on, at 127.0.0.1 only.")
@option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/kafka"),
    help="Folder for the data, the configuration and Kafka's log; made if missing, kept at the end.",
)
def kafka(port: int, data_dir: Path) -> None:
    """Run an embedded single-node Apache Kafka in the foreground. Downloads it when run for the first time."""
    from sandbox.kafka import KafkaSettings

    asyncio.run(_run_until_signal(KafkaSettings(port=port, data_dir=data_dir)))


async def _run_until_signal(settings: "KafkaSettings") -> None:
    """Return after a clean stop; raises OperationError where Kafka does not start, or dies."""
    run = asyncio.create_task(_run(settings))

    def stop() -> None:
        if not run.cancelling():  # a second signal, such as a supervisor's after Ctrl-C, must not cut the stop short
            run.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await run


async def _run(settings: "KafkaSettings") -> None:
    from sandbox.kafka import EmbeddedKafka

    async with EmbeddedKafka(settings) as embedded:
        log.info("kafka ready", broker=embedded.bootstrap, data_dir=str(settings.data_dir))
        await embedded.run_until_death()
