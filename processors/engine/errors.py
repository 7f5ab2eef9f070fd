"""What ends a worker, or keeps it from starting, with a line for whoever runs it. Pure."""


class EngineError(Exception):
    """The message is one line that says what to do; `exit_status` is the process's."""

    exit_status = 1


class StateMismatchError(EngineError):
    """The state cannot go on from here, with these settings or these topics."""

    exit_status = 2


class TransactionFailedError(Exception):
    """The transaction cannot be ended by us; whether it stands, only its log can tell."""
