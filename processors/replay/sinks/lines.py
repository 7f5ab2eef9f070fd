"""Finals as JSON lines: an object a line, `aggregate` first, then as in a row of Parquet with times in UTC ms."""

from typing import BinaryIO

import msgspec

from processors.pipeline import PipelineSettings
from processors.replay.kinds import final_kinds
from processors.replay.ordered import Replayed
from processors.replay.results import row
from schemas.errors import OperationError


class Lines:
    """Writes lines to a stream, whole ones only."""

    def __init__(self, settings: PipelineSettings, out: BinaryIO) -> None:
        self._kinds, self._out = final_kinds(settings), out

    def write(self, results: list[Replayed]) -> None:
        """Write the finals among results."""
        lines = []
        for one in results:
            kind = self._kinds.get(one.result.topic)
            if kind is not None:
                lines.append(msgspec.json.encode({"aggregate": kind.aggregate.name, **row(one, kind)}) + b"\n")
        if not lines:
            return
        try:
            self._out.write(b"".join(lines))
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OperationError(f"the lines could not be written: {error.strerror}") from error

    def commit(self) -> None:
        """Nothing is left to do."""

    def abandon(self) -> None:
        """Nothing is left to do."""
