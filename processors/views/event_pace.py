"""How long to wait between two looks at what has changed. Pure.

one event after the other    0.1 s apart, up to 0.2 s as keeps the share of time that goes into them
all windows of a minute      have closed: more than one event holds, and they follow each other at once
a backlog                    changes so much all the time that the credit for that is soon spent: 0.2 s apart
"""

SENDING_SHARE_MAX = 0.05
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 0.2
#: Between events that follow each other at once: others get their turn in the worker's loop.
BREATH_SECONDS = 0.01
#: Seconds of sending that may be spent at once; it fills again at the share.
CREDIT_SECONDS_MAX = 0.5


class Pace:
    """Monotonic seconds in and out."""

    def __init__(self) -> None:
        self._credit_seconds = CREDIT_SECONDS_MAX
        self._ended_at: float | None = None

    def pause_seconds(self, began_at: float, ended_at: float, more: bool) -> float:
        """Return how long to wait after one event; `more` says that not all fitted into it."""
        spent_seconds = ended_at - began_at
        if self._ended_at is not None:
            earned_seconds = (ended_at - self._ended_at) * SENDING_SHARE_MAX
            self._credit_seconds = min(self._credit_seconds + earned_seconds, CREDIT_SECONDS_MAX)
        self._ended_at = ended_at
        self._credit_seconds = max(self._credit_seconds - spent_seconds, -CREDIT_SECONDS_MAX)
        if more and self._credit_seconds > 0:
            return BREATH_SECONDS
        return min(max(spent_seconds / SENDING_SHARE_MAX, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
