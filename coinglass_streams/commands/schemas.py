"""`coinglass-streams schemas`: check them, list them, register them."""

import click

from coinglass_streams import options
from coinglass_streams.options import DurationParam, option
from schemas.durations import Duration
from schemas.errors import OperationError
from schemas.topics import Topics


@click.command()
@options.on_kafka
@option("--window", "windows", type=DurationParam(), multiple=True, default=["1m"], help="Windows to register for.")
def schemas(broker: str, topics: Topics, schema_registry: str | None, windows: tuple[Duration, ...]) -> None:
    """Check the schemas against the last release and list them; with --schema-registry, register the results'."""
    del broker
    from processors.registry import register_results
    from processors.windows import window_sizes
    from schemas.codec import single_object_header
    from schemas.compatibility import incompatible_with_release
    from schemas.records import schema_names

    broken = incompatible_with_release()
    if broken:
        raise OperationError("the schemas break with the last release: " + "; ".join(broken))
    for name in schema_names():
        click.echo(f"{name}\tfingerprint {single_object_header(name)[2:].hex()}\tcompatible with the last release")
    if schema_registry is not None:
        for subject, schema_id in register_results(schema_registry, topics, window_sizes(windows)).items():
            click.echo(f"{subject}\tid {schema_id}")
