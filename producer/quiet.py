"""Which channels have been silent for longer than they ever were. Pure; times are UTC ms.

    frames   f  f f      f                  f
    silence  ├─┤├┤├──────┤├───────┼ …       the longest so far was 6: quiet once this one is longer
                                  └ quiet

Only time on a connection counts, added up over connections; whether the connection itself lives is not asked here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Silence:
    """One channel's: `since_ms` on this connection, `before_ms` on earlier ones without a frame between."""

    since_ms: int
    before_ms: int = 0
    longest_ms: int = 0
    heard: bool = False  # ever
    quiet: bool = False


class QuietChannels:
    """Watches the channels of one connection, and of those after it."""

    def __init__(self, floor_ms: int, never_heard_ms: int) -> None:
        self._floor_ms = floor_ms
        self._never_heard_ms = never_heard_ms
        self._silences: dict[str, _Silence] = {}
        self._looked_at_ms = 0

    @property
    def quiet(self) -> int:
        """How many channels are quiet."""
        return sum(silence.quiet for silence in self._silences.values())

    def silences_ms(self) -> dict[str, int]:
        """Return how long each channel has been silent, when last looked at."""
        return {name: self._length_ms(silence) for name, silence in self._silences.items()}

    def connected(self, now_ms: int) -> None:
        """Go on with a new connection: the time without one was no silence."""
        for silence in self._silences.values():
            silence.before_ms, silence.since_ms = self._length_ms(silence), now_ms
        self._looked_at_ms = now_ms

    def look(self, frames_at_ms: Mapping[str, int], now_ms: int) -> tuple[list[str], list[str]]:
        """Take the channels as they stand; return those newly quiet, and those of the quiet that were heard again.

        `frames_at_ms` has each channel's last frame on this connection, 0 for none; what is not in it is forgotten.
        """
        self._forget_all_but(frames_at_ms)
        self._looked_at_ms = now_ms
        quiet, heard = [], []
        for name, frame_at_ms in frames_at_ms.items():
            silence = self._silences.setdefault(name, _Silence(since_ms=frame_at_ms or now_ms))
            if frame_at_ms >= silence.since_ms and frame_at_ms:
                ended_ms = silence.before_ms + frame_at_ms - silence.since_ms
                silence.longest_ms = max(silence.longest_ms, ended_ms)
                silence.since_ms, silence.before_ms, silence.heard = frame_at_ms + 1, 0, True
                if silence.quiet:
                    silence.quiet = False
                    heard.append(name)
            limit_ms = max(self._floor_ms, silence.longest_ms) if silence.heard else self._never_heard_ms
            if not silence.quiet and self._length_ms(silence) > limit_ms:
                silence.quiet = True
                quiet.append(name)
        return quiet, heard

    def _forget_all_but(self, names: Iterable[str]) -> None:
        for name in self._silences.keys() - set(names):
            del self._silences[name]

    def _length_ms(self, silence: _Silence) -> int:
        return silence.before_ms + max(0, self._looked_at_ms - silence.since_ms)
