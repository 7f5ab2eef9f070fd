"""`coinglass-streams topics`: make what is missing, and say what stands."""

import asyncio

import click

from coinglass_streams import options
from coinglass_streams.options import DurationParam, option
from schemas.durations import Duration
from schemas.topics import DEFAULT_PARTITIONS, Topics


@click.command()
@options.on_kafka
@option("--partitions", type=click.IntRange(1, 1000), default=DEFAULT_PARTITIONS, help="Partitions of a new topic.")
@option("--window", "windows", type=DurationParam(), multiple=True, default=["1m"], help="Windows to make topics for.")
def topics(
    broker: str, topics: Topics, schema_registry: str | None, partitions: int, windows: tuple[Duration, ...]
) -> None:
    """Create the topics that are missing, and describe them all: name, partitions, whether it was made now."""
    del schema_registry  # topics bear no schemas
    from processors.windows import window_sizes

    window_sizes(windows)
    asyncio.run(_make_and_describe(broker, topics, partitions, windows))


async def _make_and_describe(broker: str, topics: Topics, partitions: int, windows: tuple[Duration, ...]) -> None:
    from broker.admin import connected, ensure_topics

    specs = {s.name: s for s in (*topics.raw_specs(partitions), *topics.result_specs(windows, partitions))}
    async with connected(broker) as client:
        stands = await ensure_topics(client, specs.values())
    for name, count in sorted(stands.partitions.items()):
        click.echo(f"{name}\t{count} partitions\t{'created' if name in stands.made else 'already there'}")
