"""What the engine asks of the code that runs in it: one step per source partition. Pure.

A step takes records, keeps its state, and hands over what changed. The engine stores the changed rows, the results
and the source offset together, or none of them, and gives the rows back when the partition is taken up again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class SourceRecord(Protocol):
    """A record as a Kafka client hands it over."""

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""

    @property
    def timestamp(self) -> int:
        """UTC ms: of a raw record, when it was received."""

    @property
    def key(self) -> bytes | None:
        """As it was written."""

    @property
    def value(self) -> bytes | None:
        """As it was written."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """As they were written."""


class Result(NamedTuple):
    """A record to publish; its partition is chosen by its key, as Kafka's own clients do. `timestamp_ms` is UTC ms."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


class Changes(NamedTuple):
    """What a step made of its records since it was last asked: rows (None deletes one) and results, in order."""

    rows: dict[bytes, bytes | None]
    results: list[Result]


class Step(Protocol):
    """The state of one source partition. Rows' keys must be unique over all partitions of the table."""

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """Take up the state where an earlier owner left it; called once, before any records."""

    def process(self, records: Iterable[SourceRecord]) -> None:
        """Take records in the order of their offsets."""

    def take(self) -> Changes:
        """Hand over what changed since the last call."""
