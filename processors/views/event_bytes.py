"""Server-sent events as bytes: made once for all streams, plain and compressed. Pure.

    one stream    gzip's head, hello │ windows │ windows, health │ …     each a chunk of HTTP's

Every piece is compressed by itself, with nothing before it as its dictionary, and ends on a whole byte: so the same
bytes fit into every stream, whatever that has got before.
"""

import zlib
from functools import cached_property
from typing import Any

import msgspec

#: What a gzip file begins with: deflate, no name, no time, an unknown system (RFC 1952).
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def event(name: str, data: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def chunk(body: bytes) -> bytes:
    """Return a piece of a body as HTTP's chunked encoding has it."""
    return b"%x\r\n%s\r\n" % (len(body), body)


class Piece:
    """Some events, as chunks for those who take gzip and for those who don't."""

    def __init__(self, events: bytes) -> None:
        self._events = events

    @cached_property
    def plain(self) -> bytes:
        """As it is."""
        return chunk(self._events)

    @cached_property
    def packed(self) -> bytes:
        """As a part of a gzip stream."""
        return chunk(_deflated(self._events))


def first_bytes(events: bytes, gzip: bool) -> bytes:
    """Return what a stream begins with, not as a chunk."""
    return _GZIP_HEAD + _deflated(events) if gzip else events


def _deflated(events: bytes) -> bytes:
    one = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    return one.compress(events) + one.flush(zlib.Z_SYNC_FLUSH)
