"""Crash-only: a worker that does not know what it has committed must not run one more instruction.

A supervisor starts it again, and recovery finds out from the log what stands. Exit status 70 (EX_SOFTWARE).
"""

import logging
import os
import sys
from typing import NoReturn

import structlog

from schemas.errors import StreamsError

EXIT_CRASHED = 70

log = structlog.get_logger(__name__)


def crash(what: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once, with one line that says why.

    An error that is meant for a person (a setting that cannot be) ends it with that error's own line and status.
    """
    if isinstance(error, StreamsError):
        sys.stderr.write(f"coinglass-streams: {error}\n")
        status = error.exit_status
    else:
        log.critical("engine.crashed", what=what, error=repr(error), remedy="start the worker again: it recovers")
        status = EXIT_CRASHED
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
