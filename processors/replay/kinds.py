"""What a result is, by the topic that it would be published to. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processors.aggregates import AGGREGATES, Aggregate
from processors.engine.step import Result
from processors.pipeline import PipelineSettings
from schemas.codec import decode_plain
from schemas.topics import HEADER_SOURCE_OFFSET


@dataclass(frozen=True, slots=True)
class FinalKind:
    """The finals of one topic."""

    aggregate: Aggregate
    window: str  # as `--window` was written

    def read(self, result: Result) -> dict[str, Any]:
        """Return a final's fields; times as UTC ms."""
        assert result.value is not None
        return decode_plain(self.aggregate.schema, result.value)


def final_kinds(settings: PipelineSettings) -> Mapping[str, FinalKind]:
    """Return the topics of finals, each with what stands in it."""
    return {
        aggregate.topic(settings.topics, size.name): FinalKind(aggregate, size.name)
        for aggregate in AGGREGATES.values()
        for size in settings.windows
    }


def is_dead_letter(result: Result) -> bool:
    """Whether a result is a frame that could not be counted, or not in full."""
    return any(name == HEADER_SOURCE_OFFSET for name, _ in result.headers)
