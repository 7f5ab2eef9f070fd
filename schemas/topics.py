"""Topic names, keys, partition counts and settings: where everything stands on Kafka. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.durations import Duration
from schemas.errors import UsageError

DEFAULT_PREFIX = "coinglass"
DEFAULT_PARTITIONS = 4

#: Key of a feed mark in the raw topics, where a frame has its channel.
MARK_KEY = b"@mark"

#: Headers of a frame in the raw topics: the connection's UUID, and the frame's number in that connection, both text.
HEADER_CONNECTION = "connection"
HEADER_SEQUENCE = "sequence"

#: Headers of a feed mark, where there is something to say: the redundant group that its connection belongs to, and, of
#: a `down`, why the connection says no more.
HEADER_GROUP = "group"
HEADER_WHY = "why"

#: Headers of a dead letter.
HEADER_REASON = "error.reason"
HEADER_DETAIL = "error.detail"
HEADER_RECORDS = "error.records"  # JSON array of the bad records' places in `data`, [] for a whole frame
HEADER_SOURCE_TOPIC = "source.topic"
HEADER_SOURCE_PARTITION = "source.partition"
HEADER_SOURCE_OFFSET = "source.offset"
HEADER_SOURCE_TIMESTAMP = "source.timestamp"  # ms: when the frame was received

_DAY_MS = 86_400_000

#: A frame of the largest size that a raw topic takes must fit the dead letters with all their headers.
_ROOM_FOR_HEADERS = ("max.message.bytes", str(2 << 20))
_RAW_LIQUIDATIONS = ".raw.liquidations"
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should stand on the broker; `configs` are Kafka's topic settings."""

    name: str
    partitions: int
    configs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics under one prefix.

    >>> Topics("coinglass").raw_trades
    'coinglass.raw.trades'
    """

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        """Refuse a prefix that Kafka would not take as the beginning of a topic's name."""
        if not _PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"{self.prefix!r} cannot begin a topic's name: use up to 100 letters, digits, dots, dashes, underscores"
            )

    @property
    def raw_liquidations(self) -> str:
        """Frames of liquidationOrders, and marks."""
        return self.prefix + _RAW_LIQUIDATIONS

    @property
    def raw_trades(self) -> str:
        """Frames of futures_trades channels, and marks."""
        return f"{self.prefix}.raw.trades"

    @property
    def raw(self) -> tuple[str, str]:
        """Both raw topics."""
        return self.raw_liquidations, self.raw_trades

    @property
    def late(self) -> str:
        """Records that came after their window was final."""
        return f"{self.prefix}.late"

    @property
    def dead_letters(self) -> str:
        """Frames, whole, that could not be counted or not in full."""
        return f"{self.prefix}.dead-letters"

    @property
    def feed_gaps(self) -> str:
        """Times in which nobody heard a channel."""
        return f"{self.prefix}.feed-gaps"

    def liquidation_volume(self, window: str) -> str:
        """Finals of liquidation volume; `window` as it was written, such as `1m`."""
        return f"{self.prefix}.liquidation-volume.{window}"

    def trade_imbalance(self, window: str) -> str:
        """Finals of trade imbalance; `window` as it was written, such as `1m`."""
        return f"{self.prefix}.trade-imbalance.{window}"

    def raw_specs(self, partitions: int = DEFAULT_PARTITIONS) -> tuple[TopicSpec, ...]:
        """Return what the producer writes to; frames are kept 30 days for replays, under their receive time."""
        kept = (("retention.ms", str(30 * _DAY_MS)), ("message.timestamp.type", "CreateTime"))
        return (
            TopicSpec(self.raw_liquidations, partitions, kept),
            TopicSpec(self.raw_trades, partitions, kept),
            TopicSpec(self.dead_letters, partitions, (*kept, _ROOM_FOR_HEADERS)),
        )

    def result_specs(self, windows: Iterable[Duration], partitions: int = DEFAULT_PARTITIONS) -> tuple[TopicSpec, ...]:
        """Return what the processors write to; finals are small and kept for good, the rest 30 days."""
        finals = (("retention.ms", "-1"),)
        trouble = (("retention.ms", str(30 * _DAY_MS)), _ROOM_FOR_HEADERS)
        return (
            *(TopicSpec(self.liquidation_volume(w.text), partitions, finals) for w in windows),
            *(TopicSpec(self.trade_imbalance(w.text), partitions, finals) for w in windows),
            TopicSpec(self.feed_gaps, 1, finals),
            TopicSpec(self.late, partitions, trouble),
            TopicSpec(self.dead_letters, partitions, trouble),
        )


def is_raw_liquidations(topic: str) -> bool:
    """Tell whether a topic is, under whatever prefix, the one of liquidation frames."""
    return topic.endswith(_RAW_LIQUIDATIONS)
