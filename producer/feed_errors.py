"""How a connection to the feed, or an attempt at one, can end.

FeedError             it is over; the message says why, in words and without secrets
├── ClosedByUsError   as we wished
├── LostError         by trouble: worth another attempt
│   └── RefusedError  the feed does not want us now: a person should look, and another attempt waits longer
└── KeyRefusedError   the feed does not take the API key: another attempt would not help
"""


class FeedError(Exception):
    """The connection, or the attempt at one, is over; the message says why."""


class ClosedByUsError(FeedError):
    """We closed the connection ourselves."""


class LostError(FeedError):
    """The network, or what the other side sent; the next attempt begins after `hold_off_ms` at the earliest."""

    def __init__(self, why: str, hold_off_ms: int = 0) -> None:
        super().__init__(why)
        self.hold_off_ms = hold_off_ms


class RefusedError(LostError):
    """The feed turned this connection away, by its own word."""


class KeyRefusedError(FeedError):
    """The feed answered the handshake with 401 or 403."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
