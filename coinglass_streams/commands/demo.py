"""`coinglass-streams demo`: everything in one terminal, until a signal comes."""

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from coinglass_streams import options
from coinglass_streams.options import DurationParam, option
from coinglass_streams.signals import run_until_signal
from schemas.durations import Duration
from schemas.errors import OperationError
from schemas.topics import Topics

_PORT = click.IntRange(1, 65_535)


@click.command()
@options.everywhere
@options.topic_prefix
@option("--window", "windows", type=DurationParam(), multiple=True, default=["10s", "1m"], help="Window; repeatable.")
@option("--rate", type=click.FloatRange(0.1, 1_000_000), default=200.0, help="Frames a second of the simulated feed.")
@option("--seed", type=int, default=7, help="The same seed makes the same market.")
@option("--faults", multiple=True, metavar="NAME[:EVERY],…", help="Faults of the feed, as in 'simulate --help'.")
@option("--seconds", type=click.FloatRange(min=0), help="Stop so long after the start; without it, at a signal.")
@option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for data and logs, kept at the end; without it a temporary one, kept only if something fails.",
)
@option("--port-kafka", type=_PORT, help="Kafka's port; a free one if not given, as for the others.")
@option("--port-feed", type=_PORT, help="The simulated feed's port.")
@option("--port-web", type=_PORT, help="The dashboard's port.")
@option("--port-metrics", type=_PORT, help="The port of the producer's /metrics.")
def demo(
    topics: Topics,
    windows: tuple[Duration, ...],
    rate: float,
    seed: int,
    faults: tuple[str, ...],
    seconds: float | None,
    data_dir: Path | None,
    port_kafka: int | None,
    port_feed: int | None,
    port_web: int | None,
    port_metrics: int | None,
) -> None:
    """Run an embedded Kafka, a simulated feed, the producer and a worker with its dashboard, and show the finals."""
    from rich.console import Console

    from processors.windows import window_sizes
    from sandbox.demo.run import Demo
    from sandbox.demo.screen import LiveScreen, PlainScreen
    from sandbox.demo.settings import DemoSettings, Ports
    from sandbox.simulate.faults import parse_faults

    window_sizes(windows)
    ports = Ports(**_chosen_ports(kafka=port_kafka, feed=port_feed, web=port_web, metrics=port_metrics))
    committed = parse_faults(faults)
    with _folder(data_dir) as folder:
        settings = DemoSettings(folder, ports, windows, topics, rate, seed, committed, seconds)
        live = sys.stdout.isatty()
        screen = LiveScreen(settings, Console(file=sys.stdout)) if live else PlainScreen(settings)
        with _logs_in(settings.log_dir / "demo.log"), screen:
            asyncio.run(run_until_signal(Demo(settings, screen).run()))


def _chosen_ports(**given: int | None) -> dict[str, int]:
    """Return the ports as given, and a free one for each None; raises OperationError for one that is taken."""
    from sandbox.ports import check_port_free, free_port

    taken = set(given.values())
    chosen: dict[str, int] = {}
    for name, port in given.items():
        if port is not None:
            try:
                check_port_free("127.0.0.1", port)
            except OperationError as error:
                raise OperationError(
                    f"port {port} cannot be had: stop what listens there, or leave --port-{name} out"
                ) from error
        while port is None:
            found = free_port()
            port = None if found in taken else found
        taken.add(port)
        chosen[name] = port
    return chosen


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Yield the folder for data and logs; a temporary one is removed, unless something failed: its logs say what."""
    if given:
        yield given.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="coinglass-demo-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _logs_in(file: Path) -> Iterator[None]:
    """Send our own logs to a file meanwhile: the terminal is for the display."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"{file.parent} cannot be made ({error.strerror}): choose another --data-dir") from error
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    with file.open("a", encoding="utf-8") as log:
        terminal = handler.setStream(log)
        try:
            yield
        finally:
            handler.setStream(terminal)
