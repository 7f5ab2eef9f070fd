"""How fresh the rows of a source partition are, whoever owns it. Pure.

    log end    ──────4711@t1──────────────5000@t2──▶   as it was asked for now and then
    position   ───────────4700─────4711──────────▶     as it stands in the rows
    as of                          t1                  from here on the rows hold all that stood in the log at t1

So a partition is as fresh as it was found to be, whatever is in the way: a backlog, an owner that is dead and not yet
missed, a rebalance. A log that nobody writes to is always fresh.
"""


class Freshness:
    """What is known of one partition; times are UTC ms of this machine."""

    def __init__(self) -> None:
        self.position: int | None = None  # the next offset to be processed
        self.log_end: int | None = None
        self.as_of_ms: int | None = None  # when the rows held all that stood in the log; None before that was seen
        self._awaited: tuple[int, int] | None = None

    @property
    def lag(self) -> int | None:
        """How many records are still to be processed, None where that is not known."""
        if self.position is None or self.log_end is None:
            return None
        return max(0, self.log_end - self.position)

    def ends_at(self, log_end: int, at_ms: int) -> None:
        """Take note of where the log ended when it was asked for, at `at_ms`."""
        self.log_end = log_end
        if self._awaited is None:
            self._awaited = log_end, at_ms
            self._settle()

    def reached(self, position: int) -> None:
        """Take note of the position that the rows are at."""
        self.position = position
        self._settle()

    def _settle(self) -> None:
        if self._awaited is not None and self.position is not None and self.position >= self._awaited[0]:
            self.as_of_ms, self._awaited = self._awaited[1], None
