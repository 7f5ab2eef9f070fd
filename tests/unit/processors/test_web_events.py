import json
import zlib

from processors.views.event_bytes import Piece, chunk, event, first_bytes
from processors.views.events import BEHIND_SECONDS_MAX, UNREAD_BYTES_MAX, Stream


class Transport:
    """A socket whose reader reads when told to."""

    def __init__(self):
        self.unread, self.got, self.closed = b"", b"", False

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return len(self.unread)

    def write(self, data):
        self.unread += data

    def abort(self):
        self.closed = True

    def read(self):
        self.got, self.unread = self.got + self.unread, b""


def test_an_event_is_a_name_and_a_line_of_json_whatever_stands_in_it():
    sent = event("windows", {"asset": "\n\n<b>event: x\r\u2028"})
    name, data, *rest = sent.decode().split("\n")
    assert (name, rest) == ("event: windows", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"asset": "\n\n<b>event: x\r\u2028"}


def test_a_chunk_says_its_length_in_hexadecimal():
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_a_reader_that_is_far_behind_gets_nothing_until_it_has_read_and_then_a_reset():
    transport = Transport()
    stream = Stream(transport, gzip=False)
    stream.send(Piece(b"a" * (UNREAD_BYTES_MAX + 1)), 1.0)
    stream.send(Piece(b"b"), 2.0)
    stream.send(Piece(b"c"), 3.0)
    transport.read()
    stream.send(Piece(b"d"), 4.0)
    stream.send(Piece(b"e"), 5.0)
    transport.read()
    last = chunk(event("reset", {})) + chunk(b"d") + chunk(b"e")
    assert transport.got.endswith(b"a\r\n" + last)
    assert not stream.over.is_set()


def test_a_reader_that_does_not_read_for_long_is_dropped():
    transport = Transport()
    stream = Stream(transport, gzip=False)
    stream.send(Piece(b"a" * (UNREAD_BYTES_MAX + 1)), 1.0)
    stream.send(Piece(b"b"), 2.0)
    stream.send(Piece(b"b"), 2.0 + BEHIND_SECONDS_MAX)
    assert not transport.closed
    stream.send(Piece(b"b"), 2.1 + BEHIND_SECONDS_MAX)
    assert transport.closed
    assert stream.over.is_set()


def test_a_stream_whose_reader_has_gone_is_over():
    transport = Transport()
    transport.closed = True
    stream = Stream(transport, gzip=False)
    stream.send(Piece(b"a"), 1.0)
    assert stream.over.is_set()
    assert transport.unread == b""


def test_the_same_packed_piece_fits_into_any_stream_and_can_be_read_as_soon_as_it_is_there():
    health, windows = event("health", {"at_ms": 1}), event("windows", {"liquidations": [{"asset": "BTC"}] * 99})
    pieces = {body: Piece(body) for body in (health, windows)}
    for bodies in ([health, windows, windows], [windows, health]):
        reader = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # gzip
        assert reader.decompress(first_bytes(b"hello", gzip=True)) == b"hello"
        for body in bodies:
            length, packed = pieces[body].packed.split(b"\r\n", 1)
            assert reader.decompress(packed[: int(length, 16)]) == body
    assert len(pieces[windows].packed) < len(windows) / 10


def test_a_stream_gets_what_it_takes():
    plain, packed = Transport(), Transport()
    piece = Piece(b"x" * 100)
    Stream(plain, gzip=False).send(piece, 1.0)
    Stream(packed, gzip=True).send(piece, 1.0)
    assert (plain.unread, packed.unread) == (piece.plain, piece.packed)
