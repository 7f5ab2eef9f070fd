"""Errors that a person sees, each one line that names the remedy, and the exit status each stands for.

StreamsError
├── UsageError        exit 2: the command line, the environment or the configuration is off
└── OperationError    exit 1: the world is off (no broker, a taken port, a refused key)
"""


class StreamsError(Exception):
    """Base of all errors meant for a person; the message is one line that says what to do."""

    exit_status = 1


class UsageError(StreamsError):
    """The command line, the environment or the configuration cannot be used as given."""

    exit_status = 2


class OperationError(StreamsError):
    """What was asked for is well-formed, and cannot be done as the world stands."""
