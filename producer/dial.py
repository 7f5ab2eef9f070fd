"""Reaches the feed: name, TCP, proxy, TLS and WebSocket handshake, all within one time limit and bounded in bytes.

The API key is in the address: nothing here logs or raises what holds the address.
"""

import socket
import ssl
import time
from base64 import b64encode
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import websocket

from producer.feed_errors import LostError
from producer.handshake import HEAD_BYTES_MAX, HEAD_END, accepted_head, read_head

_READ_BYTES = 4_096


class TimeLimit:
    """One limit for everything that an attempt waits for: a byte a second must not hold it for ever."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return the seconds that are left; raises LostError when there are none."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise LostError(f"it was not connected within {self._seconds:g} s")
        return left_s


def dial(address: str, time_limit_s: float) -> tuple[Any, socket.socket, bytes]:
    """Return an open `websocket.WebSocket`, its socket, and what the feed sent behind its answer.

    Raises KeyRefusedError, LostError, and what sockets, TLS and the library raise on trouble: OSError, ValueError,
    WebSocketException.
    """
    limit = TimeLimit(time_limit_s)
    parts = urlsplit(address)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    # Before anything is connected: it takes long to make, and where a feed has reset us meanwhile, wrap_socket fails
    # in a place where it leaves a socket open that nobody else knows of.
    tls = ssl.create_default_context() if secure else None
    sock = _reached(host, port, secure, limit)
    try:
        if tls is not None:
            sock.settimeout(limit.left_s())  # for the whole of TLS's handshake, not for each of its reads
            sock = tls.wrap_socket(sock, server_hostname=host)
        opening = _Opening(sock, limit)
        opened: Any = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
        opened.connect(address, socket=opening, redirect_limit=0)
    except BaseException:
        sock.close()
        raise
    return opened, sock, opening.rest


class _Opening:
    """The socket as the library sees it during the handshake: it reads an answer that was looked over before."""

    def __init__(self, sock: socket.socket, limit: TimeLimit) -> None:
        self._sock = sock
        self._limit = limit
        self._answer = b""
        #: What came behind the answer: the first messages, if the feed is quick.
        self.rest = b""
        self.gettimeout = sock.gettimeout
        self.close = sock.close

    def send(self, request: bytes) -> int:
        """Send all of the request, which the library would not."""
        self._sock.settimeout(self._limit.left_s())
        self._sock.sendall(request)
        return len(request)

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes of the answer; the library asks for no more than its head."""
        if not self._answer:
            head, self.rest = _head(self._sock, self._limit)
            self._answer = accepted_head(head, time.time_ns() // 1_000_000)
        part, self._answer = self._answer[:size], self._answer[size:]
        return part


def _head(sock: socket.socket, limit: TimeLimit) -> tuple[bytes, bytes]:
    """Return an HTTP answer's head without its end, and what was read behind it."""
    read = b""
    while HEAD_END not in read:
        if len(read) > HEAD_BYTES_MAX:
            raise LostError(f"it answered with more than {HEAD_BYTES_MAX} bytes of headers")
        sock.settimeout(limit.left_s())
        chunk = sock.recv(_READ_BYTES)
        if not chunk:
            raise LostError("it closed the connection without an answer")
        read += chunk
    head, _, rest = read.partition(HEAD_END)
    return head, rest


def _reached(host: str, port: int, secure: bool, limit: TimeLimit) -> socket.socket:
    """Return a connected socket: to the feed, or to a proxy's tunnel where the environment names one."""
    proxy = urlsplit("" if proxy_bypass(host) else getproxies().get("https" if secure else "http", ""))
    if not proxy.hostname:
        return _connected(host, port, limit)
    sock = _connected(proxy.hostname, proxy.port or 80, limit)
    try:
        _open_tunnel(sock, proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", limit)
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(host: str, port: int, limit: TimeLimit) -> socket.socket:
    """Return a socket to the first of the host's addresses that takes one; each has its share of the time."""
    addresses: list[Any] = [info[4] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    while True:
        address = addresses.pop(0)
        try:
            sock = socket.create_connection(address[:2], timeout=limit.left_s() / (len(addresses) + 1))
        except OSError:
            if not addresses:
                raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock


def _open_tunnel(sock: socket.socket, proxy: SplitResult, place: str, limit: TimeLimit) -> None:
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.username:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}")
    sock.settimeout(limit.left_s())
    sock.sendall("\r\n".join(lines).encode() + HEAD_END)
    head, _ = _head(sock, limit)
    status, _ = read_head(head)
    if not 200 <= status < 300:
        raise LostError(f"the proxy answered with status {status}")
