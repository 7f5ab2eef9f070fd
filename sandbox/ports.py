"""TCP ports on this machine."""

import errno
import socket

from schemas.errors import OperationError


def free_port(host: str = "127.0.0.1", other_than: int = 0) -> int:
    """Return a port that nothing listens on right now."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port != other_than:
            return port


def check_port_free(host: str, port: int, flag: str = "--port") -> None:
    """Raise OperationError where `port` cannot be listened on; `flag` is the one to choose another with."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does: one that just ended is no bar
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise OperationError(
                    f"port {port} is taken: stop what listens there, or choose another port with {flag}"
                ) from error
            raise OperationError(
                f"port {port} cannot be listened on ({error.strerror}): choose another port with {flag}"
            ) from error
