"""`coinglass-streams kafka`: an embedded Apache Kafka of one node or three, until a signal comes."""

import asyncio
from pathlib import Path

import click
import structlog

from coinglass_streams import options
from coinglass_streams.options import option
from coinglass_streams.signals import run_until_signal

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
@option(
    "--nodes",
    type=click.Choice([1, 3]),
    default=1,
    help="Brokers. Three listen on --port and the two after it, keep three copies of everything, and one may die.",
)
def kafka(port: int, data_dir: Path, nodes: int) -> None:
    """Run an embedded Apache Kafka in the foreground. Downloads it when run for the first time."""
    asyncio.run(run_until_signal(_run_one(port, data_dir) if nodes == 1 else _run_several(port, data_dir, nodes)))


async def _run_one(port: int, data_dir: Path) -> None:
    from sandbox.kafka import EmbeddedKafka, KafkaSettings

    async with EmbeddedKafka(KafkaSettings(port=port, data_dir=data_dir)) as embedded:
        log.info("kafka.ready", broker=embedded.bootstrap, data_dir=str(data_dir))
        await embedded.run_until_death()


async def _run_several(port: int, data_dir: Path, nodes: int) -> None:
    from sandbox.kafka_cluster import ClusterSettings, EmbeddedCluster

    async with EmbeddedCluster(ClusterSettings(port=port, data_dir=data_dir, nodes=nodes)) as cluster:
        log.info("kafka.ready", broker=cluster.bootstrap, data_dir=str(data_dir), nodes=nodes)
        await cluster.run_while_quorate()
