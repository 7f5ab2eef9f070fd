"""The feed's HTTP answer to a WebSocket's opening: what it means, and what of it is passed on. Pure.

A stranger wrote it, so it is read here, strictly and within bounds, before the library sees any of it.
"""

import re
from email.utils import parsedate_to_datetime

from producer.feed_errors import KeyRefusedError, LostError

HEAD_BYTES_MAX = 16 * 1024
HEAD_END = b"\r\n\r\n"

#: How long to stay away after "too many requests" that does not say how long.
RATE_LIMITED_PAUSE_MS = 60_000
#: Longest that a server's own word keeps us away.
RETRY_AFTER_MS_MAX = 15 * 60_000

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})( [^\r\n]*)?")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
#: All that the library needs of an answer.
_PASSED_ON = ("upgrade", "connection", "sec-websocket-accept")


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    r"""Return status and headers, names in lower case, of an answer's head without its end; raises LostError.

    >>> read_head(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30")
    (429, {'retry-after': '30'})
    """
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise LostError("the answer was not HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER_LINE.fullmatch(line)
        if header is None:
            raise LostError("the answer's headers cannot be read")
        name, value = header[1].decode().lower(), header[2].decode("latin-1").strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return int(status_line[1]), headers


def accepted_head(head: bytes, now_ms: int) -> bytes:
    """Return an answer that opens a WebSocket as the library needs it.

    Raises KeyRefusedError for one that refuses the key, LostError for any other.
    """
    status, headers = read_head(head)
    if status == 101:
        lines = [f"{name}: {headers[name]}" for name in _PASSED_ON if name in headers]
        return "\r\n".join(("HTTP/1.1 101 Switching Protocols", *lines)).encode("latin-1") + HEAD_END
    if status in (401, 403):
        raise KeyRefusedError(status)
    if 300 <= status < 400:
        raise LostError(f"it answered with a redirect ({status}), which the key must not follow: look at --url")
    hold_off_ms = retry_after_ms(headers.get("retry-after", ""), now_ms)
    if status == 429:
        raise LostError("it answered with status 429, too many requests", hold_off_ms or RATE_LIMITED_PAUSE_MS)
    raise LostError(f"it answered with status {status}", hold_off_ms)


def retry_after_ms(text: str, now_ms: int) -> int:
    """Return how long a `Retry-After` keeps us away, ms from now and within our bound; 0 for none, or nonsense.

    >>> retry_after_ms("30", 0), retry_after_ms("Thu, 01 Jan 1970 00:01:00 GMT", 20_000), retry_after_ms("soon", 0)
    (30000, 40000, 0)
    """
    if text.isascii() and text.isdigit():
        wait_ms = int(text[:10]) * 1_000
    else:
        try:
            wait_ms = int(parsedate_to_datetime(text).timestamp() * 1_000) - now_ms
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0
    return min(max(wait_ms, 0), RETRY_AFTER_MS_MAX)
