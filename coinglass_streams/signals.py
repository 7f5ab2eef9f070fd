"""How a subcommand in the foreground ends: a signal cancels its work, and what that cleans up is waited for."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager


async def run_until_signal(running: Coroutine[None, None, None]) -> None:
    """Run until SIGTERM or SIGINT, or until it is done; what it raises, this raises."""
    run = asyncio.create_task(running)

    def stop() -> None:
        if not run.cancelling():  # a second signal, such as make's after Ctrl-C, must not cut the stop short
            run.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await run
    except asyncio.CancelledError:
        if not run.cancelling():  # nobody asked for it: a failure that must not pass for a clean stop
            raise


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Have the first SIGTERM or SIGINT raise KeyboardInterrupt in the body; a second must not cut the stop short."""

    def interrupt(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    yield
