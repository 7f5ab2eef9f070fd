"""How long to wait before the next attempt: exponential with full jitter. Pure: it is told its random numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The pauses between attempts, ms; full jitter, so that producers cut off together do not come back together.

    >>> backoff = Backoff(first_ms=500, ms_max=30_000, healthy_after_ms=10_000)
    >>> [backoff.pause_ms(1.0) for _ in range(8)]
    [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
    >>> backoff.pause_ms(1.0, lasted_ms=10_000)
    500
    """

    first_ms: int
    ms_max: int
    healthy_after_ms: int
    _limit_ms: int = 0

    def pause_ms(self, fraction: float, lasted_ms: int = 0) -> int:
        """Return the pause after an attempt, or after a connection that lasted `lasted_ms`; `fraction` is in [0, 1]."""
        assert 0 <= fraction <= 1
        if lasted_ms >= self.healthy_after_ms:
            self._limit_ms = 0
        self._limit_ms = min(self._limit_ms * 2 or self.first_ms, self.ms_max)
        return int(self._limit_ms * fraction)
