import json

from processors.views.events import BEHIND_SECONDS_MAX, UNREAD_BYTES_MAX, Stream, chunk, event


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
    stream = Stream(transport)
    stream.send(b"a" * (UNREAD_BYTES_MAX + 1), 1.0)
    stream.send(b"b", 2.0)
    stream.send(b"c", 3.0)
    transport.read()
    stream.send(b"d", 4.0)
    stream.send(b"e", 5.0)
    transport.read()
    assert transport.got.lstrip(b"a") == chunk(event("reset", {})) + b"de"
    assert not stream.over.is_set()


def test_a_reader_that_does_not_read_for_long_is_dropped():
    transport = Transport()
    stream = Stream(transport)
    stream.send(b"a" * (UNREAD_BYTES_MAX + 1), 1.0)
    stream.send(b"b", 2.0)
    stream.send(b"b", 2.0 + BEHIND_SECONDS_MAX)
    assert not transport.closed
    stream.send(b"b", 2.1 + BEHIND_SECONDS_MAX)
    assert transport.closed
    assert stream.over.is_set()


def test_a_stream_whose_reader_has_gone_is_over():
    transport = Transport()
    transport.closed = True
    stream = Stream(transport)
    stream.send(b"a", 1.0)
    assert stream.over.is_set()
    assert transport.unread == b""
