"""`coinglass-streams produce`: the feed to the raw topics."""

import os
from pathlib import Path

import click

from coinglass_streams import options
from coinglass_streams.logs import hide
from coinglass_streams.options import DurationParam, option
from producer.channel_patterns import expanded
from producer.channels_watch import read_channels
from producer.settings import DEFAULT_URL, PER_CONNECTION_MAX, ProducerSettings, read_api_key
from schemas.channels import LIQUIDATIONS
from schemas.durations import Duration
from schemas.errors import UsageError
from schemas.topics import Topics


@click.command()
@options.on_kafka
@option(
    "--channel",
    "patterns",
    multiple=True,
    show_default=LIQUIDATIONS,
    help="Channel to subscribe to; repeatable; {a,b} are alternatives: futures_trades@{Binance,OKX}_BTCUSDT@10000.",
)
@option(
    "--channels-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file that names the channels, in place of --channel; followed while running when it is edited.",
)
@option(
    "--channels-per-connection",
    type=click.IntRange(1, PER_CONNECTION_MAX),
    default=100,
    help="More channels than this are spread over several connections.",
)
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
@option(
    "--redundant-group",
    metavar="NAME",
    help="Run several producers of the same channels under one name: what more than one heard is counted once.",
)
@option("--metrics-port", type=click.IntRange(1, 65_535), help="Serve /metrics for Prometheus on 127.0.0.1.")
def produce(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    patterns: tuple[str, ...],
    channels_file: Path | None,
    channels_per_connection: int,
    url: str,
    mark_every: Duration,
    buffer_mib: int,
    spool_dir: Path,
    spool_mib: int,
    redundant_group: str | None,
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
        channels=_channels(patterns, channels_file),
        channels_file=channels_file,
        channels_per_connection=channels_per_connection,
        redundant_group=redundant_group,
        api_key=key,
        mark_every_ms=mark_every.ms,
        buffer_bytes_max=buffer_mib * 1024 * 1024,
        spool_dir=spool_dir,
        spool_bytes_max=spool_mib * 1024 * 1024,
        metrics_port=metrics_port,
    )
    from producer.service import run

    run(settings)


def _channels(patterns: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    if file is None:
        return expanded(patterns or [LIQUIDATIONS])
    if patterns:
        raise UsageError("--channel and --channels-file both name the channels: leave one out")
    return read_channels(file)
