"""One connection's channels: which are wanted, and which of them the feed is believed to send. Pure.

A channel is believed from the moment it is asked for. A refusal ends that, until a frame of the channel, or an
acknowledgement that names it, says otherwise; meanwhile it is asked for again now and then.
"""

from collections.abc import Sequence

import msgspec

from producer.notices import Verdict, names_in, verdict
from schemas.channels import canonical_name


class Listened(msgspec.Struct, gc=False):
    """A channel of the subscription; times are UTC ms, 0 for never on this connection."""

    name: str  # canonical
    spelled: str  # as it was configured, and is asked for
    frame_at_ms: int = 0
    asked_at_ms: int = 0
    refused: bool = False


class Subscription:
    """The channels of one connection, by their canonical names."""

    def __init__(self) -> None:
        self._channels: dict[str, Listened] = {}

    @property
    def claimed(self) -> tuple[str, ...]:
        """The channels that the feed is believed to send."""
        return tuple(channel.name for channel in self._channels.values() if not channel.refused)

    @property
    def refused(self) -> tuple[str, ...]:
        """The channels that it refused."""
        return tuple(channel.name for channel in self._channels.values() if channel.refused)

    @property
    def spelled(self) -> list[str]:
        """All of them as they are asked for."""
        return [channel.spelled for channel in self._channels.values()]

    @property
    def frames_at_ms(self) -> dict[str, int]:
        """When the last frame of each claimed channel came."""
        return {channel.name: channel.frame_at_ms for channel in self._channels.values() if not channel.refused}

    def get(self, name: str) -> Listened | None:
        """Return a channel by its canonical name."""
        return self._channels.get(name)

    def follow(self, wanted: Sequence[str], now_ms: int) -> tuple[list[str], list[str]]:
        """Take these channels for the old ones; return what to ask for, and what to take back, as they are spelled.

        A channel that is only spelled otherwise than before stays as it is.
        """
        names = {canonical_name(spelled): spelled for spelled in wanted}
        gone = [channel for name, channel in self._channels.items() if name not in names]
        for channel in gone:
            del self._channels[channel.name]
        added = {name: spelled for name, spelled in names.items() if name not in self._channels}
        for name, spelled in added.items():
            self._channels[name] = Listened(name, spelled, asked_at_ms=now_ms)
        return list(added.values()), [channel.spelled for channel in gone]

    def hear(self, notice: dict[str, object], text: str, now_ms: int) -> tuple[Verdict, list[str]]:
        """Take a notice; return what it means, and the channels that it newly refused or granted.

        An error that names none of the channels is held to mean all that were never heard on this connection.
        """
        meant = verdict(notice)
        if meant is Verdict.SAID:
            return meant, []
        named = names_in(text)
        channels = [channel for channel in self._channels.values() if {channel.name, channel.spelled} & named]
        if meant is Verdict.REFUSED and not channels:
            channels = [channel for channel in self._channels.values() if not channel.frame_at_ms]
        refused = meant is Verdict.REFUSED
        changed = [channel for channel in channels if channel.refused != refused]
        for channel in changed:
            channel.refused, channel.asked_at_ms = refused, now_ms
        return meant, [channel.name for channel in changed]

    def ask_again(self, now_ms: int, every_ms: int) -> list[str]:
        """Return the refused channels that it is time to ask for once more, as they are spelled."""
        due = [c for c in self._channels.values() if c.refused and now_ms - c.asked_at_ms >= every_ms]
        for channel in due:
            channel.asked_at_ms = now_ms
        return [channel.spelled for channel in due]
