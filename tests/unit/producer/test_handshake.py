"""The feed's HTTP answer: strict, bounded, and told apart."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.feed_errors import FeedError, KeyRefusedError, LostError
from producer.handshake import RATE_LIMITED_PAUSE_MS, RETRY_AFTER_MS_MAX, accepted_head, retry_after_ms

ACCEPTED = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nCONNECTION: Upgrade\r\nSec-WebSocket-Accept:abc="


def test_of_an_answer_only_what_is_needed_is_passed_on():
    head = ACCEPTED + b"\r\nSet-Cookie: a=b; domain=.com\r\nX: y"
    assert accepted_head(head, 0) == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: abc=\r\n\r\n"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_an_error_of_its_own(status: int):
    with pytest.raises(KeyRefusedError) as caught:
        accepted_head(b"HTTP/1.1 %d No" % status, 0)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("head", "why", "hold_off_ms"),
    [
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7", "too many requests", 7_000),
        (b"HTTP/1.1 429 Slow", "too many requests", RATE_LIMITED_PAUSE_MS),
        (b"HTTP/1.1 503 Busy\r\nretry-after: 99999999999999999999", "503", RETRY_AFTER_MS_MAX),
        (b"HTTP/1.0 503", "503", 0),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://evil.example/?cg-api-key=k", "redirect (302)", 0),
        (b"HTTP/1.1 200 OK", "200", 0),
        (b"HTTP/1.1", "not HTTP", 0),
        (b"", "not HTTP", 0),
        (b"HTTP/2 200", "not HTTP", 0),
        (b"SSH-2.0-OpenSSH_9.6", "not HTTP", 0),
        (b"HTTP/1.1 101 Fine\r\nno colon", "headers cannot be read", 0),
        (b"HTTP/1.1 101 Fine\r\na: b\r\n c", "headers cannot be read", 0),
        (b"HTTP/1.1 101 Fine\r\na: \x00", "headers cannot be read", 0),
    ],
)
def test_any_other_answer_is_trouble_that_says_what_it_was(head: bytes, why: str, hold_off_ms: int):
    with pytest.raises(LostError) as caught:
        accepted_head(head, 0)
    assert why in str(caught.value)
    assert caught.value.hold_off_ms == hold_off_ms
    assert "evil" not in str(caught.value)


@given(st.binary() | st.binary().map(lambda tail: b"HTTP/1.1 101 \r\n" + tail))
def test_no_bytes_raise_anything_else(head: bytes):
    with suppress(FeedError):
        accepted_head(head, 0)


@given(st.text())
def test_a_retry_after_is_within_bounds_whatever_it_says(text: str):
    assert 0 <= retry_after_ms(text, 0) <= RETRY_AFTER_MS_MAX


@pytest.mark.parametrize("text", ["", "soon", "-5", "Thu, 99 Foo 1970", "Thu, 01 Jan 0000 00:00:00 GMT", "1e3", "٣"])
def test_a_retry_after_that_is_none_counts_for_nothing(text: str):
    assert retry_after_ms(text, 10**12) == 0
