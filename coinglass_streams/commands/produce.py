"""`coinglass-streams produce`: the feed to the raw topics."""

import os
from pathlib import Path

import click

from coinglass_streams import options
from coinglass_streams.logs import hide
from coinglass_streams.options import DurationParam, option
from producer.settings import DEFAULT_URL, ProducerSettings, read_api_key
from schemas.channels import LIQUIDATIONS
from schemas.durations import Duration
from schemas.topics import Topics


@click.command()
@options.on_kafka
@option("--channel", "channels", multiple=True, default=[LIQUIDATIONS], help="Channel to subscribe to; repeatable.")
@option("--url", default=DEFAULT_URL, help="The feed's address, without the API key.")
@option("--mark-every", type=DurationParam(), default="1s", help="How often to write that the feed is up.")
@option(
    "--buffer-mib",
    type=click.IntRange(1, 65_536),
    default=256,
    help="Memory for what the broker has not acknowledged; what fits neither here nor into the spool is counted "
    "and shown as not covered.",
)
@option(
    "--spool-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/spool"),
    help="Folder for what waits for a broker that is away; several producers may share it.",
)
@option(
    "--spool-mib", type=click.IntRange(0, 1_048_576), default=4_096, help="Disk for that, each producer; 0 for none."
)
@option("--metrics-port", type=click.IntRange(1, 65_535), help="Serve /metrics for Prometheus on 127.0.0.1.")
def produce(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    channels: tuple[str, ...],
    url: str,
    mark_every: Duration,
    buffer_mib: int,
    spool_dir: Path,
    spool_mib: int,
    metrics_port: int | None,
) -> None:
    """Write the feed to the raw topics, every frame as it came, until stopped by a signal; then drain.

    The API key is read from COINGLASS_API_KEY, or from the file that COINGLASS_API_KEY_FILE names.
    """
    del schema_registry
    key = read_api_key(os.environ)
    if key is not None:
        hide(key.reveal())
    settings = ProducerSettings(
        bootstrap=broker,
        topics=topics,
        url=url,
        channels=tuple(dict.fromkeys(channels)),
        api_key=key,
        mark_every_ms=mark_every.ms,
        buffer_bytes_max=buffer_mib * 1024 * 1024,
        spool_dir=spool_dir,
        spool_bytes_max=spool_mib * 1024 * 1024,
        metrics_port=metrics_port,
    )
    from producer.service import run

    run(settings)
