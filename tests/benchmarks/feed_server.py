"""A feed that costs its machine next to nothing: WebSocket frames made before, sent on a plain socket.

    python -m tests.benchmarks.feed_server FRAMES --count 200000          as fast as it is read
    python -m tests.benchmarks.feed_server FRAMES --count 60000 --rate 1000

FRAMES is a file with one frame a line; they are sent over and over until so many were sent, to each connection that
subscribes, one connection at a time. Says on standard output, a JSON object a line: the port, then for each connection
when its first and its last frame were sent (monotonic seconds, one clock for all processes).
"""

import argparse
import base64
import hashlib
import json
import socket
import struct
import time
from itertools import cycle, islice
from pathlib import Path

CHUNK_BYTES = 64 << 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING = 1, 8, 9


def message(payload, opcode=_TEXT):
    """Return an unmasked WebSocket message."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


class Client:
    """The other side of a connection."""

    def __init__(self, sock):
        self._sock, self._read = sock, b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shake_hands(self):
        """Take the upgrade."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        named = (line.partition(b":") for line in head.split(b"\r\n"))
        (key,) = [value.strip() for name, _, value in named if name.lower() == b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def until_subscribed(self):
        """Wait for the first text that is no ping; answer those."""
        while not self.answer(wait=True):
            pass

    def answer(self, *, wait=False):
        """Answer what has come, or comes where we wait for it; tell whether a subscription was among it."""
        try:
            self._more(0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        subscribed = False
        for opcode, text in self._messages():
            if opcode == _TEXT and text == b"ping":
                self.send(message(b"pong"))
            elif opcode == _PING:
                self.send(message(text, 10))
            elif opcode == _CLOSE:
                raise ConnectionError
            else:
                subscribed = True
        return subscribed

    def send(self, messages):
        """Send whole messages."""
        self._sock.sendall(messages)

    def _more(self, flags=0):
        more = self._sock.recv(4096, flags)
        if not more:
            raise ConnectionError
        self._read += more

    def _messages(self):
        """Yield what has come in whole: opcode and payload. A client's messages are masked, and ours are short."""
        while len(self._read) >= 2:
            opcode, size, at = self._read[0] & 15, self._read[1] & 127, 2
            if size == 126 and len(self._read) >= 4:
                size, at = struct.unpack_from("!H", self._read, 2)[0], 4
            if len(self._read) < at + 4 + size:
                return
            mask, masked = self._read[at : at + 4], self._read[at + 4 : at + 4 + size]
            self._read = self._read[at + 4 + size :]
            yield opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))


def chunked(messages):
    """Return the messages in lists of CHUNK_BYTES."""
    chunks, size = [[]], 0
    for one in messages:
        if size >= CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(one)
        size += len(one)
    return chunks


def send_all(client, messages, count):
    """Send as fast as it is read, in chunks of whole messages."""
    chunks = [(b"".join(chunk), chunk) for chunk in chunked(messages)]
    for whole, chunk in cycle(chunks):
        if count <= len(chunk):
            client.send(b"".join(chunk[:count]))
            return
        client.send(whole)
        client.answer()
        count -= len(chunk)


def send_steadily(client, messages, count, rate):
    """Send each when it is due."""
    began, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - began) * rate) + 1)
        for number in range(sent, due):
            client.send(messages[number % len(messages)])
        sent = due
        client.answer()
        time.sleep(max(0.0, began + sent / rate - time.monotonic()))


def serve(messages, count, rate):
    """Serve one connection after another until killed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            sock, _ = listener.accept()
            with sock:
                try:
                    client = Client(sock)
                    client.shake_hands()
                    client.until_subscribed()
                    began = time.monotonic()
                    if rate:
                        send_steadily(client, messages, count, rate)
                    else:
                        send_all(client, messages, count)
                    print(json.dumps({"began": began, "ended": time.monotonic(), "frames": count}), flush=True)
                    while True:
                        client.answer(wait=True)
                except ConnectionError:
                    continue


def main():
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, help="frames a second")
    args = parser.parse_args()
    with args.frames.open("rb") as lines:
        messages = [message(line.rstrip(b"\n")) for line in islice(lines, args.count)]
    serve(messages, args.count, args.rate)


if __name__ == "__main__":
    main()
