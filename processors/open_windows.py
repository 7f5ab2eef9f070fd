"""The open windows of one raw partition, and the short way from a record to its window. Pure.

    channel ──▶ Lane ──▶ key (asset, or the channel) ──▶ one Slot for each window size ──▶ the Window hit last

A record mostly falls into the window that the record before it fell into: it then costs one comparison in its slot,
not a look-up. Two things hold always: a key has one slot for each size, and a slot's window is open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from processors.aggregates import Aggregate, Totals, aggregate_for
from processors.rows import WindowKey
from processors.windows import WindowSize
from schemas.channels import parse_channel

_NEVER_MS = 2**63


@dataclass(slots=True, eq=False)
class Window:
    """An open window; `changed` since its row was last handed over."""

    of: WindowKey
    aggregate: Aggregate
    size: WindowSize
    totals: Totals
    changed: bool = False
    slot: "Slot | None" = None  # where it is at hand, if it still is


@dataclass(slots=True, eq=False)
class Slot:
    """The window that records of one key and size fell into last."""

    key: str
    size: WindowSize
    start_ms: int = 0
    end_ms: int = 0  # no time lies in [0, 0): a slot without a window is never hit
    window: Window | None = None

    def turn_to(self, window: Window) -> None:
        """Have this window at hand from now on."""
        self.start_ms, self.end_ms, self.window = window.of.start_ms, window.of.end_ms, window
        window.slot = self

    def clear(self) -> None:
        """Have no window at hand."""
        self.start_ms, self.end_ms, self.window = 0, 0, None


@dataclass(slots=True, eq=False)
class Lane:
    """What a channel's records belong to, and the slots of its keys."""

    channel: str
    aggregate: Aggregate
    slots: dict[str, list[Slot]] = field(default_factory=dict)


class OpenWindows:
    """Opens, finds and closes windows."""

    def __init__(self, sizes: Iterable[WindowSize]) -> None:
        self.sizes = tuple(sizes)
        self.lanes: dict[str, Lane] = {}  # by channel; one that is not here is made by `lane`
        self.next_close_ms = _NEVER_MS  # the earliest end of an open window
        self._windows: dict[WindowKey, Window] = {}
        self._idle_keys = False  # whether windows were closed since the last look for them

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows.values())

    def lane(self, channel_name: str) -> Lane | None:
        """Return the lane of a channel, the same for all its spellings; None for one that nobody knows."""
        lane = self.lanes.get(channel_name)
        if lane is None:
            channel = parse_channel(channel_name)
            if channel is None:
                return None
            lane = self.lanes.get(channel.name) or Lane(channel.name, aggregate_for(channel))
            self.lanes[channel.name] = self.lanes[channel_name] = lane
        return lane

    def slots(self, lane: Lane, key: str) -> list[Slot]:
        """Return the slots of a key, one for each size."""
        slots = lane.slots.get(key)
        if slots is None:
            slots = lane.slots[key] = [Slot(key, size) for size in self.sizes]
        return slots

    def find(self, of: WindowKey) -> Window | None:
        """Return an open window."""
        return self._windows.get(of)

    def put(self, window: Window, slot: Slot) -> None:
        """Open a window, or take it up again, and have it at hand in its slot."""
        self._windows[window.of] = window
        self.next_close_ms = min(self.next_close_ms, window.of.end_ms)
        slot.turn_to(window)

    def close(self, watermark_ms: int) -> list[Window]:
        """Close the windows whose end the watermark has reached, and return them in the order of their closing."""
        due = [window for window in self._windows.values() if window.of.end_ms <= watermark_ms]
        for window in due:
            del self._windows[window.of]
            if window.slot is not None and window.slot.window is window:
                window.slot.clear()
        self.next_close_ms = min((window.of.end_ms for window in self._windows.values()), default=_NEVER_MS)
        self._idle_keys = True
        return sorted(due, key=lambda window: window.of.closing_order)

    def forget_idle_keys(self) -> None:
        """Drop the slots of keys without a window: a key that is never seen again must not stay in memory.

        To be called between batches only: a key whose slots were dropped while a frame is at work would get others, and
        have two for each size.
        """
        if not self._idle_keys:
            return
        self._idle_keys = False
        for lane in self.lanes.values():
            lane.slots = {key: slots for key, slots in lane.slots.items() if any(slot.window for slot in slots)}
        self.lanes = {name: lane for name, lane in self.lanes.items() if lane.slots}
