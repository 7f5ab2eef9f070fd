"""`coinglass-streams simulate`: a feed to develop and test against, in the foreground."""

import asyncio
import signal
from pathlib import Path

import click
import structlog

from coinglass_streams import options
from coinglass_streams.logs import hide
from coinglass_streams.options import option
from coinglass_streams.signals import STOPPING
from sandbox.simulate.faults import ALL, FAULTS, parse_faults
from sandbox.simulate.server import FeedSettings, SimulatedFeed
from schemas.errors import UsageError

log = structlog.get_logger("coinglass_streams.simulate")

_WIDTH = max(map(len, FAULTS))
_FAULTS_HELP = "\b\nFaults, how often unless said, and what they do:\n" + "\n".join(
    f"  {name:<{_WIDTH}} {every:>4}  {text}" for name, (every, text) in FAULTS.items()
)


@click.command(epilog=_FAULTS_HELP)
@options.everywhere
@option("--host", default="127.0.0.1", help="Address to listen on.")
@option("--port", type=click.IntRange(0, 65_535), default=8765, help="Port to listen on; 0 takes a free one.")
@option(
    "--rate",
    type=click.FloatRange(0.1, 1_000_000),
    default=50.0,
    help="Frames a second, over all channels that anybody is subscribed to.",
)
@option("--seed", type=int, default=7, help="The same seed makes the same market.")
@option(
    "--faults",
    multiple=True,
    metavar="NAME[:EVERY],…",
    help=f"Faults to commit, repeatable or with commas between: garbage:5s,disconnect:30s; '{ALL}' is every one.",
)
@option(
    "--require-key",
    metavar="KEY-FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Answer 401 to all but the key in this file; without it any key will do, and none.",
)
def simulate(host: str, port: int, rate: float, seed: int, faults: tuple[str, ...], require_key: Path | None) -> None:
    """Serve a simulated feed that speaks CoinGlass's protocol, until a signal stops it."""
    key = _read_key(require_key) if require_key else None
    asyncio.run(_serve(FeedSettings(host, port, rate, seed, parse_faults(faults), key)))


def _read_key(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key cannot be read from {path}: name a text file with --require-key") from error
    if not key:
        raise UsageError(f"{path} is empty: put the key there, or leave --require-key out")
    hide(key)
    return key


async def _serve(settings: FeedSettings) -> None:
    stopped = asyncio.Event()
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with SimulatedFeed(settings) as feed:
        names = ",".join(fault.name for fault in settings.faults) or "none"
        log.info("simulate.ready", url=feed.url, rate=settings.rate_per_s, seed=settings.seed, faults=names)
        waiting = {asyncio.create_task(stopped.wait()), asyncio.create_task(feed.failed())}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # the loop's handlers end before the process does
    log.info("simulate.stopped", frames=feed.frames_sent)
