"""TCP ports on this machine."""

import errno
import socket
from collections.abc import Collection
from contextlib import ExitStack
from secrets import randbelow

from schemas.errors import OperationError

#: Below what systems hand out by themselves (Linux from 32,768, others from 49,152): else a client's own connection
#: could take a server's port while the server is down, and a client that keeps trying one could reach itself there.
FREE_PORTS = range(10_240, 32_768)


def free_port(host: str = "127.0.0.1", other_than: Collection[int] = (), in_a_row: int = 1) -> int:
    """Return a port that nothing listens on right now; with `in_a_row`, the first of so many side by side."""
    while True:
        first = FREE_PORTS[randbelow(len(FREE_PORTS) - in_a_row)]
        wanted = range(first, first + in_a_row)
        if not set(wanted) & set(other_than) and _are_free(host, wanted):
            return first


def _are_free(host: str, ports: Collection[int]) -> bool:
    with ExitStack() as held:
        try:
            for port in ports:
                held.enter_context(socket.socket(_family(host))).bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def check_port_free(host: str, port: int, flag: str = "--port") -> None:
    """Raise OperationError where `port` cannot be listened on; `flag` is the one to choose another with."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does: one that just ended is no bar
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise OperationError(
                    f"port {port} is taken: stop what listens there, or choose another port with {flag}"
                ) from error
            raise OperationError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
