"""Messages read from a socket in large pieces: the quick way gives what the library gives, however they are cut."""

import struct
import time
from itertools import pairwise

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

from producer.feed_errors import LostError
from producer.feed_socket import READ_BYTES, FeedSocket, Kind

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

    def settimeout(self, seconds):
        """It never waits."""

    fileno = shutdown = close = None


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


def received(pieces, *, quick=True, message_bytes_max=1 << 24):
    """Return what is received until the connection ends, and why it ends; `quick` off: by the library alone."""
    opened = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    socket = FeedSocket(opened, FakeSocket(pieces), b"", message_bytes_max=message_bytes_max, wait_s=1.0)
    if not quick:
        socket._ahead.whole_text = lambda: None
    found = []
    while True:
        try:
            one = socket.receive(time.monotonic() + 60)
        except (ConnectionResetError, websocket.WebSocketException, LostError) as error:
            return found, repr(error)
        if one is not None:
            found.append(one)


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
    assert received(pieces) == received(pieces, quick=False)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_protocol_is_left_to_the_library(data):
    pieces = [frame(b"before") + data]
    assert received(pieces) == received(pieces, quick=False)
    _, why = received(pieces)
    assert "ConnectionResetError" not in why


def test_plain_text_that_is_there_in_whole_is_read_without_the_library(monkeypatch):
    first, others = frame(b"first"), [b"a" * size for size in (0, 125, 126, 60_000)]
    opened = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
    whole = FakeSocket([first + b"".join(map(frame, others))])
    socket = FeedSocket(opened, whole, b"", message_bytes_max=1 << 24, wait_s=1.0)
    assert socket.receive(time.monotonic() + 60) == (Kind.MESSAGE, b"first")
    monkeypatch.setattr(opened, "recv_frame", None)
    assert [socket.receive(0.0) for _ in others] == [(Kind.MESSAGE, other) for other in others]


def test_a_message_without_end_is_refused_and_control_frames_for_ever_are_not():
    endless = frame(b"", fin=False) + frame(b"y" * 50_000, CONTINUED, fin=False) * 10
    found, why = received(pieces_of(endless, (), ()), message_bytes_max=100_000)
    assert not found
    assert "more than 100000 bytes" in why
    pongs = frame(b"z" * 125, PONG) * 10_000
    found, why = received(pieces_of(pongs, (), ()), message_bytes_max=100_000)
    assert len(found) == 10_000
    assert "ConnectionResetError" in why


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_cut_by_a_time_out_goes_on_where_it_was_though_what_follows_looks_like_another(cut):
    holding_another = frame(b"another") + b"!"
    data = frame(holding_another) + frame(b"next")
    found, _ = received([data[:cut], b"", data[cut:]])
    assert [payload for _, payload in found] == [holding_another, b"next"]
