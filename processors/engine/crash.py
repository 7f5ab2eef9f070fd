"""Crash-only: a worker that does not know what it has committed must not run one more instruction.

A supervisor starts it again, and recovery finds out from the log what stands. Exit status 70 (EX_SOFTWARE).
"""

import logging
import os
import sys
from typing import NoReturn

import structlog

EXIT_CRASHED = 70
REMEDY = "start the worker again, it recovers; if this repeats, see that --member and --app-id are not in use elsewhere"

log = structlog.get_logger(__name__)


def crash(what: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once, with one line that says why.

    An error that is meant for a person has an `exit_status`, and ends it with its own line and that status.
    """
    status: int | None = getattr(error, "exit_status", None)
    if status is not None:
        sys.stderr.write(f"{error}\n")
    else:
        log.critical("engine.crashed", what=what, error=repr(error), remedy=REMEDY)
        status = EXIT_CRASHED
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
