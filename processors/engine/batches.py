"""Batches: the consecutive records of one partition that one fetch brought, handed to the stream as one event."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import faust
from faust.types import EventT

from processors.engine.step import SourceRecord


class Batch(list[SourceRecord]):
    """Records in the order of their offsets.

    `base` is the offset that the batch follows on from: all below it was in earlier batches. It can be lower than the
    first record's own, as offsets may be missing in a log (control records, compaction).
    """

    def __init__(self, records: Iterable[SourceRecord], base: int) -> None:
        super().__init__(records)
        self.base = base

    @property
    def end(self) -> int:
        """The offset that the next batch follows on from."""
        return self[-1].offset + 1 if self else self.base

    def since(self, offset: int) -> "Batch":
        """Return what of the batch stands at `offset` or later."""
        return self if offset <= self.base else Batch((r for r in self if r.offset >= offset), offset)


class BatchSchema(faust.Schema[Any, Any]):
    """Hands a batch to the stream as it is: nothing is deserialized, as the step reads the bytes itself."""

    def compile(self, app: Any, **options: Any) -> Callable[..., Awaitable[EventT[Any]]]:
        """Return what turns a message into an event."""
        del options
        create_event = app.create_event

        async def wrap(message: Any, *, propagate: bool = False) -> EventT[Any]:
            del propagate
            event: EventT[Any] = create_event(message.key, message.value, None, message)
            return event

        return wrap
