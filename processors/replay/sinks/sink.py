"""What every sink does."""

from typing import Protocol

from processors.replay.ordered import Replayed


class Sink(Protocol):
    """Takes results in their order."""

    def write(self, results: list[Replayed]) -> None:
        """Take results; raises OperationError where they cannot be kept."""

    def commit(self) -> None:
        """Make all that was written stand: the replay is over."""

    def abandon(self) -> None:
        """Leave nothing half done: the replay failed, or was stopped."""
