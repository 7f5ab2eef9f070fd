"""Flags that subcommands share. Every flag is also an environment variable, and a key of the `--config` file."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

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


class WebAddressParam(click.ParamType):
    """`http://host:port`, or https."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that there is a scheme and a host."""
        parts = urlsplit(str(value))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            self.fail(f"{value!r} is not an address: write http://host:port", param, ctx)
        return str(value)


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Make the file's values the flags' defaults: top-level keys for every subcommand, `[subcommand]` for one."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise click.BadParameter(f"{path} cannot be read: {why}", ctx, param) from error
    name, flags = ctx.command.name or "", _flags_by_subcommand(ctx)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    shared = {key: value for key, value in values.items() if key not in tables}
    for place, keys, known in (
        ("", shared.keys(), set[str]().union(*flags.values())),
        ("", tables.keys(), flags.keys()),
        *(
            (f"[{table}] ", settings.keys(), flags[table].keys())
            for table, settings in tables.items()
            if table in flags
        ),
    ):
        for key in sorted(keys - known):
            raise click.BadParameter(f"{path}: {place}there is no {key!r}", ctx, param)
    defaults = dict(ctx.default_map or {})
    for key, value in {**shared, **tables.get(name, {})}.items():
        if key in flags[name]:
            flag = flags[name][key]
            defaults[flag.name or ""] = [value] if flag.multiple and not isinstance(value, list) else value
    ctx.default_map = defaults


def _flags_by_subcommand(ctx: click.Context) -> dict[str, dict[str, click.Option]]:
    """Return, for each subcommand, its flags by their names without dashes."""
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    found: dict[str, dict[str, click.Option]] = {}
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        options = [p for p in (command.params if command else []) if isinstance(p, click.Option) and p.name != "config"]
        found[name] = {flag.removeprefix("--"): p for p in options for flag in p.opts}
    return found


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
    type=WebAddressParam(),
    help="Write the Confluent wire format with ids from this registry; without it, Avro single-object encoding.",
)


def everywhere(command: F) -> F:
    """Add what every subcommand takes: --config and --log-level."""
    return config(log_level(command))


def on_kafka(command: F) -> F:
    """Add what every subcommand that talks to Kafka takes."""
    return broker(topic_prefix(schema_registry(everywhere(command))))
