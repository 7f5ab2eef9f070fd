"""A worker that freezes itself at the worst moment: state changed, results made, and nothing of it sent yet.

Run as `python -m tests.fault.freezing_worker FILE fenced|unfenced process …`: once FILE exists, the next transaction
that has results begins with a SIGSTOP. Whoever thaws the worker has it go on as if nothing had happened.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from processors.engine.transactions import PartitionWriter
from tests.fault.unfenced_worker import remove_fencing


def freeze_once(trigger: Path) -> None:
    """Have the process stop before it hands anything over, once the file is there, and once only.

    Not while a transaction of another partition is open: whoever takes over could not read past it before it ends.
    """
    hand_over, under_way = PartitionWriter.hand_over, 0

    async def freezing(self: PartitionWriter, changes: Any, *rest: Any) -> None:
        nonlocal under_way
        if changes.results and not under_way:
            _freeze_if(trigger)
        under_way += 1
        try:
            await hand_over(self, changes, *rest)
        finally:
            under_way -= 1

    PartitionWriter.hand_over = freezing  # type: ignore[method-assign]


def _freeze_if(trigger: Path) -> None:
    if trigger.exists():
        trigger.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    freeze_once(Path(sys.argv.pop(1)))
    if sys.argv.pop(1) == "unfenced":
        remove_fencing()
    from coinglass_streams.cli import main

    main()
