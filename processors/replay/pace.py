"""`--speed`: gives results out when their receive time comes, as much faster as was asked for."""

import re
import time
from collections.abc import Callable, Iterator

from processors.replay.ordered import Replayed
from schemas.errors import UsageError

_WRITTEN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)x")


def parse_speed(text: str) -> float | None:
    """Return how many times faster than time itself, None for `max`.

    >>> parse_speed("60x")
    60.0
    """
    if text == "max":
        return None
    match = _WRITTEN.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--speed {text!r}: write max, 1x, or another number of times such as 60x")
    return float(match[1])


class Pace:
    """Waits before each result; the first moment of the range, or the first result's, is now."""

    def __init__(
        self,
        speed: float | None,
        begin_ms: int | None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed, self._begin_ms = speed, begin_ms
        self._monotonic, self._sleep = monotonic, sleep
        self._began: float | None = None

    def due(self, results: list[Replayed]) -> Iterator[list[Replayed]]:
        """Yield results as they fall due, those of one moment together."""
        if self._speed is None:
            if results:
                yield results
            return
        begin = 0
        for end in range(1, len(results) + 1):
            if end == len(results) or results[end].available_at_ms != results[begin].available_at_ms:
                self._wait_for(results[begin].available_at_ms)
                yield results[begin:end]
                begin = end

    def _wait_for(self, at_ms: int) -> None:
        assert self._speed is not None
        if self._began is None:
            self._began = self._monotonic()
            self._begin_ms = at_ms if self._begin_ms is None else self._begin_ms
        assert self._begin_ms is not None
        wait_s = self._began + (at_ms - self._begin_ms) / 1e3 / self._speed - self._monotonic()
        if wait_s > 0:
            self._sleep(wait_s)
