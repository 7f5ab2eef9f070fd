"""How many frames are due: counted against the clock, so that a late wake-up loses nothing. Pure."""


class Pace:
    """A rate held in the long run.

    Each question adds what has come due since the last one; what was sent is taken off, a few too many included. More
    than `debt_ms_max` of arrears is forgiven: a laptop that slept an hour does not send an hour of frames.

    >>> pace = Pace(rate_per_s=100, now_ms=0)
    >>> pace.due(50)
    5
    >>> pace.sent(6)
    >>> pace.due(100)
    4
    """

    def __init__(self, rate_per_s: float, now_ms: int, debt_ms_max: int = 10_000) -> None:
        self.rate_per_s = rate_per_s
        self._debt_max = max(1.0, rate_per_s * debt_ms_max / 1_000)
        self._at_ms = now_ms
        self._owed = 0.0
        self._factor = 1.0
        self._factor_until_ms = now_ms

    def due(self, now_ms: int) -> int:
        """Return how many frames should be sent now; the clock may stand still, and never goes back."""
        elapsed_ms = now_ms - self._at_ms
        fast_ms = min(elapsed_ms, max(0, self._factor_until_ms - self._at_ms))
        self._at_ms = now_ms
        self._owed += (elapsed_ms + fast_ms * (self._factor - 1.0)) * self.rate_per_s / 1_000
        most = self._debt_max * (self._factor if fast_ms else 1.0)
        self._owed = min(self._owed, most)
        return max(0, int(self._owed))

    def sent(self, count: int) -> None:
        """Take these off."""
        self._owed -= count

    def rest(self, now_ms: int) -> None:
        """Let the time up to now count for nothing: nobody was listening."""
        self._at_ms = now_ms
        self._owed = 0.0

    def hurry(self, factor: float, now_ms: int, for_ms: int) -> None:
        """Send at `factor` times the rate for a while."""
        self._factor = factor
        self._factor_until_ms = now_ms + for_ms
