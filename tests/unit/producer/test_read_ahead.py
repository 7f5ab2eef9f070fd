"""Messages read from a socket in large pieces: the same as websocket-client reads by itself, however they are cut."""

import struct
from itertools import pairwise

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st
from websocket import ABNF

from producer.feed import READ_BYTES, ReadAhead, next_message

TEXT, BINARY, CONTINUED, PING, PONG = 1, 2, 0, 9, 10


class FakeSocket:
    """Hands out what a network brought, piece by piece; an empty piece is a time-out."""

    def __init__(self, pieces):
        self._pieces = list(pieces)
        self.sent = []

    def recv(self, size):
        if not self._pieces:
            raise ConnectionResetError
        piece = self._pieces.pop(0)
        if not piece:
            raise TimeoutError("timed out")
        assert len(piece) <= size
        return piece

    def send(self, data):
        self.sent.append(data)
        return len(data)

    def gettimeout(self):
        return 1.0


class PassedThrough(FakeSocket):
    """The same for the library alone, which asks for a few bytes at a time."""

    def recv(self, size):
        piece = super().recv(1 << 30)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


def frame(payload, opcode=TEXT, *, fin=True, mask=False, rsv=0):
    first, masked = opcode | 0x80 * fin | rsv, 0x80 * mask
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if not mask:
        return head + payload
    return head + b"abcd" + bytes(byte ^ b"abcd"[n % 4] for n, byte in enumerate(payload))


def everything(receive):
    """Return what is received until the connection ends, and how it ends."""
    found = []
    while True:
        try:
            found.append(receive())
        except websocket.WebSocketTimeoutException:
            continue
        except (ConnectionResetError, websocket.WebSocketException) as error:
            return found, type(error)


def read_ahead(pieces, message_bytes_max=1 << 24):
    feed = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    feed.sock = sock = ReadAhead(FakeSocket(pieces), message_bytes_max)
    return everything(lambda: next_message(feed, sock))


def by_the_library(pieces):
    feed = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    feed.sock = PassedThrough(pieces)

    def receive():
        opcode, got = feed.recv_data_frame(True)
        return opcode, got.data

    return everything(receive)


payloads = st.binary(max_size=300) | st.sampled_from([b"x" * size for size in (125, 126, 127, 65_535, 65_536)])
messages = st.one_of(
    payloads.map(frame),
    payloads.map(lambda payload: frame(payload, BINARY)),
    payloads.map(lambda payload: frame(payload, mask=True)),
    st.binary(max_size=125).map(lambda payload: frame(payload, PONG)),
    st.tuples(payloads, st.binary(max_size=9), payloads).map(
        lambda parts: frame(parts[0], fin=False) + frame(parts[1], PING) + frame(parts[2], CONTINUED)
    ),
)
#: Not as the protocol wants it: the library must be the one to say so.
BROKEN = {
    "an extension nobody asked for": frame(b"x", rsv=0x40),
    "an unknown kind": frame(b"x", 3),
    "a piece of nothing": frame(b"x", CONTINUED),
    "a message within another": frame(b"x", fin=False) + frame(b"another"),
    "a message within another, after a pong": frame(b"x", fin=False) + frame(b"", PONG) + frame(b"another"),
}


def pieces_of(data, cuts, pauses):
    """Cut the bytes into pieces no larger than a read, with time-outs between some."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts), *range(0, len(data), READ_BYTES)})
    cut = [data[a:b] for a, b in pairwise(edges)]
    return [piece for n, one in enumerate(cut) for piece in ((b"", one) if n in pauses else (one,))]


@given(
    st.lists(messages, max_size=8),
    st.none() | st.sampled_from(list(BROKEN.values())),
    st.lists(st.integers(0, 1 << 20), max_size=12),
    st.sets(st.integers(0, 20)),
)
def test_however_a_feed_is_cut_it_reads_as_the_library_alone_reads_it(sent, wrong, cuts, pauses):
    data = b"".join(sent) + (wrong or b"")
    pieces = pieces_of(data, cuts, pauses)
    assert read_ahead(pieces) == by_the_library(pieces)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_protocol_is_left_to_the_library(data):
    found, ended = read_ahead([frame(b"before") + data])
    assert ended is websocket.WebSocketProtocolException
    assert (found, ended) == by_the_library([frame(b"before") + data])


def test_plain_text_that_is_there_in_whole_is_read_without_the_library(monkeypatch):
    first, others = frame(b"first"), [b"a" * size for size in (0, 125, 126, 60_000)]
    feed = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    feed.sock = sock = ReadAhead(FakeSocket([first + b"".join(map(frame, others))]), 1 << 24)
    assert next_message(feed, sock) == (ABNF.OPCODE_TEXT, b"first")
    monkeypatch.setattr(feed, "recv_data_frame", None)
    assert [next_message(feed, sock)[1] for _ in others] == others


def test_a_message_without_end_is_refused_and_control_frames_for_ever_are_not():
    endless = frame(b"", fin=False) + frame(b"y" * 50_000, CONTINUED, fin=False) * 10
    found, ended = read_ahead(pieces_of(endless, (), ()), message_bytes_max=100_000)
    assert (found, ended) == ([], websocket.WebSocketProtocolException)
    pongs = frame(b"z" * 125, PONG) * 10_000
    found, ended = read_ahead(pieces_of(pongs, (), ()), message_bytes_max=100_000)
    assert (len(found), ended) == (10_000, ConnectionResetError)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_cut_by_a_time_out_goes_on_where_it_was_though_what_follows_looks_like_another(cut):
    holding_another = frame(b"another") + b"!"
    data = frame(holding_another) + frame(b"next")
    found, _ = read_ahead([data[:cut], b"", data[cut:]])
    assert [payload for _, payload in found] == [holding_another, b"next"]
