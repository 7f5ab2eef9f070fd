"""Why a request gets no answer: each is one HTTP status, and a JSON body that says what to do."""

from collections.abc import Iterable, Mapping
from typing import Any


class Problem(Exception):  # noqa: N818 - some are the asker's error, some nobody's
    """A request that cannot be answered."""

    status = 500

    def __init__(
        self, message: str, *, retry_after_seconds: int | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.body: Mapping[str, Any] = {"error": message, **(details or {})}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the status."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}


class BadRequestError(Problem):
    """A parameter that cannot be; the message says what can."""

    status = 400


class UnknownError(Problem):
    """An asset or a market that nothing is known of."""

    status = 404

    def __init__(self, message: str, about: Mapping[str, str]) -> None:
        super().__init__(message, details=about)


class BusyError(Problem):
    """Too much is being asked for at once, or what is asked for takes too long."""

    status = 503

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)


class RecoveringError(Problem):
    """Partitions whose rows are not known yet: an answer without them would have a hole."""

    status = 503

    def __init__(self, partitions: Iterable[tuple[str, int]]) -> None:
        named = sorted(f"{topic}/{partition}" for topic, partition in partitions)
        super().__init__(
            f"the state of {', '.join(named)} is being recovered", retry_after_seconds=1, details={"recovering": named}
        )
