"""How a subcommand in the foreground ends: a signal cancels its work, and what that cleans up is waited for."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGTERM, signal.SIGINT)


async def run_until_signal(running: Coroutine[None, None, None]) -> None:
    """Run until SIGTERM or SIGINT, or until it is done; what it raises, this raises."""
    run = asyncio.create_task(running)

    def stop() -> None:
        if not run.cancelling():  # a second signal, such as make's after Ctrl-C, must not cut the stop short
            run.cancel()

    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await run
    except asyncio.CancelledError:
        if not run.cancelling():  # nobody asked for it: a failure that must not pass for a clean stop
            raise
    finally:
        if run.cancelling():  # the loop's handlers end before the process does: what comes then must not end it
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Have the first SIGTERM or SIGINT raise KeyboardInterrupt in the body; a second must not cut the stop short."""

    def interrupt(*_: object) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in STOPPING:
        signal.signal(number, interrupt)
    yield
