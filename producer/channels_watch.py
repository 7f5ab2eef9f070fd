"""Reads the channels file, at the start and again while the producer runs."""

import stat
from pathlib import Path

import structlog

from producer.channels_file import FILE_BYTES_MAX, parse_channels
from schemas.errors import UsageError

log = structlog.get_logger(__name__)


def read_channels(path: Path) -> tuple[str, ...]:
    """Return the channels that a file names. Raises UsageError for one that cannot be used."""
    return _channels(path, _content(path))


class ChannelsWatch:
    """Looks at the file when asked to.

    A file that is missing or broken keeps the channels as they are, and is told once. Only what stood there at two
    looks is taken: an editor may write a file in pieces, and the first may well be a file with fewer channels.
    """

    def __init__(self, path: Path, channels: tuple[str, ...]) -> None:
        self._path = path
        self._channels = channels
        self._seen: bytes | str | None = None
        self._settled: bytes | str | None = None
        self._broken = False

    def look(self) -> tuple[str, ...] | None:
        """Return the channels if they have become others, else None."""
        try:
            now: bytes | str = _content(self._path)
        except UsageError as error:
            now = str(error)
        settled, self._seen = now == self._seen, now
        if not settled or now == self._settled:
            return None
        self._settled = now
        try:
            if isinstance(now, str):
                raise UsageError(now)
            channels = _channels(self._path, now)
        except UsageError as error:
            log.error("channels.file_unusable", error=str(error), channels="as they were until it is mended")
            self._broken = True
            return None
        if self._broken:
            log.info("channels.file_usable", path=str(self._path))
            self._broken = False
        if channels == self._channels:
            return None
        self._channels = channels
        return channels


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"the channels file {path} is no file: name one that can be read again and again")
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"the channels file {path} cannot be read: {error.strerror}") from None


def _channels(path: Path, content: bytes) -> tuple[str, ...]:
    try:
        return parse_channels(content)
    except UsageError as error:
        raise UsageError(f"the channels file {path} cannot be used, {error}") from None
