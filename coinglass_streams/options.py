"""Flags that subcommands share. Every flag is also an environment variable, and a key of the `--config` file."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from coinglass_streams.logs import LEVELS, configure_logs
from schemas.durations import Duration, parse_duration
from schemas.errors import UsageError
from schemas.topics import DEFAULT_PREFIX, Topics

F = TypeVar("F", bound=Callable[..., Any])


def option(name: str, *more: str, **attributes: Any) -> Callable[[F], F]:
    """Declare a flag that can also be set as `COINGLASS_` + its name.

    >>> option("--topic-prefix")  # doctest: +SKIP
    """
    variable = "COINGLASS_" + name.removeprefix("--").replace("-", "_").upper()
    attributes.setdefault("show_default", True)
    return click.option(name, *more, envvar=variable, show_envvar=True, **attributes)


class DurationParam(click.ParamType):
    """`5s`, `1m`: converted to a Duration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Duration:
        """Parse the text; a Duration passes through."""
        if isinstance(value, Duration):
            return value
        try:
            return parse_duration(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class PrefixParam(click.ParamType):
    """A topic prefix: converted to the topics under it."""

    name = "prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Topics:
        """Check the prefix."""
        if isinstance(value, Topics):
            return value
        try:
            return Topics(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class BrokerParam(click.ParamType):
    """`host:port`, or several with commas between."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check each address."""
        for address in str(value).split(","):
            host, colon, port = address.strip().rpartition(":")
            if not (colon and host and port.isdigit() and 0 < int(port) < 65_536):
                self.fail(f"{address!r} is not a broker's address: write host:port, such as 127.0.0.1:9092", param, ctx)
        return str(value)


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Make the file's values the flags' defaults: top-level keys for every subcommand, `[subcommand]` for one."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}", ctx, param) from error
    shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
    own = values.get(ctx.command.name or "", {})
    known = {p.name for p in ctx.command.params} - {"config"}
    unknown = [key for key in own if key.replace("-", "_") not in known]
    if unknown:
        raise click.BadParameter(f"{path}: [{ctx.command.name}] has no setting {unknown[0]!r}", ctx, param)
    settings = {key.replace("-", "_"): value for key, value in {**shared, **own}.items()}
    ctx.default_map = {**(ctx.default_map or {}), **settings}


def _set_logs(ctx: click.Context, param: click.Parameter, level: str) -> None:
    del ctx, param
    configure_logs(level)


config = click.option(
    "--config",
    envvar="COINGLASS_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with defaults for the flags: top-level keys for all subcommands, [subcommand] tables for one.",
)
log_level = option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    expose_value=False,
    callback=_set_logs,
    help="Least severe log line to show, on standard error.",
)
broker = option("--broker", type=BrokerParam(), default="127.0.0.1:9092", help="Kafka's bootstrap address.")
topic_prefix = option(
    "--topic-prefix", "topics", type=PrefixParam(), default=DEFAULT_PREFIX, help="Every topic's name begins with it."
)
schema_registry = option(
    "--schema-registry",
    metavar="URL",
    help="Write the Confluent wire format with ids from this registry; without it, Avro single-object encoding.",
)


def everywhere(command: F) -> F:
    """Add what every subcommand takes: --config and --log-level."""
    return config(log_level(command))


def on_kafka(command: F) -> F:
    """Add what every subcommand that talks to Kafka takes."""
    return broker(topic_prefix(schema_registry(everywhere(command))))
