"""What the world's troubles with files are called here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import OperationError


@contextmanager
def told_of(folder: Path) -> Iterator[None]:
    """Turn a failing write, such as on a full disk, into one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise OperationError(f"{folder} cannot be written ({why}): make room, or choose another folder") from error
