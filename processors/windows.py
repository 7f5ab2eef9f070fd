"""Tumbling windows of event time: `[start, end)`, aligned to the epoch. Pure.

time ──────┬───────────────┬───────────────┬──────▶
        120000          180000          240000        size 60000 (1m)
           └─ 179999 is in ┘└─ 180000 is in ┘
"""

from dataclasses import dataclass

from schemas.durations import Duration
from schemas.errors import UsageError

WINDOW_MS_MAX = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class WindowSize:
    """One `--window`: its length, and the name its topics bear."""

    name: str
    ms: int

    def start_of(self, time_ms: int) -> int:
        """Return the start of the window that holds `time_ms`.

        >>> WindowSize("1m", 60_000).start_of(179_999)
        120000
        """
        return time_ms - time_ms % self.ms


def window_sizes(durations: tuple[Duration, ...]) -> tuple[WindowSize, ...]:
    """Check the windows of one worker; raises UsageError for none, for one of no length, or for one given twice."""
    sizes: dict[int, WindowSize] = {}
    for duration in durations:
        if not 1 <= duration.ms <= WINDOW_MS_MAX:
            raise UsageError(f"--window {duration.text}: a window is at least 1ms and at most 7d long")
        if duration.ms in sizes:
            raise UsageError(
                f"--window {sizes[duration.ms].name} and {duration.text} are the same window: give it once"
            )
        sizes[duration.ms] = WindowSize(duration.text, duration.ms)
    if not sizes:
        raise UsageError("at least one --window is needed, such as --window 1m")
    return tuple(sizes.values())
