"""`coinglass-streams doctor`: what is wrong with this setup, and what to do."""

import asyncio
import json
import os
from pathlib import Path

import click

from coinglass_streams import options
from coinglass_streams.doctor.findings import Finding, Level, failed
from coinglass_streams.logs import hide, scrub
from coinglass_streams.options import DurationParam, option
from producer.settings import DEFAULT_URL
from schemas.channels import LIQUIDATIONS
from schemas.durations import Duration
from schemas.topics import Topics

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.SKIP: None}


@click.command()
@options.on_kafka
@option("--channel", "channels", multiple=True, default=[LIQUIDATIONS], help="Channel to listen to; repeatable.")
@option("--url", default=DEFAULT_URL, help="The feed's address, without the API key.")
@option("--listen", type=DurationParam(), default="5s", help="How long to listen to the feed, at most.")
@option("--mark-every", type=DurationParam(), default="1s", help="As the producer has it.")
@option("--mark-delay", type=DurationParam(), default="10s", help="As the worker has it.")
@option("--window", "windows", type=DurationParam(), multiple=True, default=["1m"], help="As the worker has it.")
@option("--app-id", help="Look at this consumer group too.")
@option("--state-dir", type=click.Path(path_type=Path), default=Path("data/state"), help="As the worker has it.")
@option("--data-dir", type=click.Path(path_type=Path), default=Path("data/kafka"), help="As 'kafka' has it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def doctor(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    channels: tuple[str, ...],
    url: str,
    listen: Duration,
    mark_every: Duration,
    mark_delay: Duration,
    windows: tuple[Duration, ...],
    app_id: str | None,
    state_dir: Path,
    data_dir: Path,
    as_json: bool,
) -> int:
    """Check key, plan, connection, clock, broker, topics, marks, registry, drift and disk; change nothing.

    Each line says ok, or what to do. Exit status 1 if something fails, 0 if nothing worse than warnings is found.
    """
    from coinglass_streams.doctor.key import look_at_key
    from coinglass_streams.doctor.settings import DoctorSettings

    key = look_at_key(os.environ)
    if key.secret is not None:
        hide(key.secret.reveal())
    settings = DoctorSettings(
        bootstrap=broker,
        topics=topics,
        url=url,
        channels=tuple(dict.fromkeys(channels)),
        key=key,
        listen=listen,
        windows=windows,
        mark_every=mark_every,
        mark_delay=mark_delay,
        folders=(state_dir, data_dir),
        app_id=app_id,
        schema_registry=schema_registry,
    )
    from coinglass_streams.doctor.run import examine  # once it is known that there is something to do

    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            click.secho(scrub(finding.line), fg=_COLOURS[finding.level])

    asyncio.run(examine(settings, tell))
    if as_json:
        findings = [{name: scrub(text) for name, text in finding.as_json().items()} for finding in found]
        click.echo(json.dumps({"ok": not failed(found), "findings": findings}, indent=1))
    return int(failed(found))
