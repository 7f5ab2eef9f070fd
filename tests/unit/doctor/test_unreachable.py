import socket
import ssl

import pytest
import websocket

from coinglass_streams.doctor.unreachable import why_unreachable
from producer.settings import ProducerSettings, Secret

KEY = "s3cret-of-this+test/0123456789"
URL = "wss://open-ws.coinglass.com/ws-api"


def settings(key=KEY, url=URL):
    return ProducerSettings(bootstrap="127.0.0.1:9092", url=url, api_key=Secret(key) if key else None)


def status(code):
    # websocket-client puts the whole answer into the message, and a server may repeat the address that was asked for
    return websocket.WebSocketBadStatusException(f"Handshake status {code} -+-+- /ws-api?cg-api-key={KEY}", code)


def certificate(code, message):
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


CASES = {
    "a bad key": (status(401), "refused the API key (401)", "set COINGLASS_API_KEY"),
    "a plan without the feed": (status(403), "(403)", "plan has WebSocket channels"),
    "another path": (status(404), "no feed at", "--url"),
    "too many connections": (status(429), "(429)", "stop"),
    "a redirect": (status(302), "elsewhere (302)", "--url"),
    "a web page": (status(200), "does not take a WebSocket (status 200)", "--url"),
    "a feed in trouble": (status(503), "in trouble itself (503)", "try again"),
    "another name": (certificate(62, "Hostname mismatch"), "certificate of another name", "--url"),
    "an old certificate": (certificate(10, "certificate has expired"), "(certificate has expired)", "date"),
    "no TLS": (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not speak TLS", "ws://"),
    "silence while connecting": (TimeoutError("timed out"), "did not answer within 10 s", "firewall"),
    "silence in the handshake": (websocket.WebSocketTimeoutException(), "did not answer within 10 s", "firewall"),
    "an unknown name": (websocket.WebSocketAddressException(), "cannot be looked up", "DNS"),
    "an unknown name, by the system": (socket.gaierror(-2, "Name or service not known"), "cannot be looked up", "DNS"),
    "no name at all": (UnicodeError("label too long"), "cannot be looked up", "DNS"),
    "a proxy": (websocket.WebSocketProxyException("407"), "the proxy", "https_proxy"),
    "nobody there": (ConnectionRefusedError(111, "Connection refused"), "nothing listens", "--url"),
    "a reset": (ConnectionResetError(104, "Connection reset by peer"), "closed the connection", "proxy"),
    "an end": (websocket.WebSocketConnectionClosedException(), "closed the connection", "proxy"),
    "no way": (OSError(101, "Network is unreachable"), "(Network is unreachable)", "firewall"),
    "another protocol": (websocket.WebSocketException("Invalid header"), "does not speak as a WebSocket", "--url"),
}


@pytest.mark.parametrize(("error", "says", "remedy"), CASES.values(), ids=CASES)
def test_each_failure_is_told_apart_with_its_remedy_and_without_the_key(error, says, remedy):
    trouble = why_unreachable(error, settings())
    assert trouble.says.startswith((URL, "nothing listens at", "there is no feed at", "the name in", "the proxy"))
    assert says in trouble.says
    assert remedy in trouble.remedy
    assert KEY not in trouble.finding("connection").line


def test_a_feed_that_wants_a_key_where_none_is_set_says_so():
    trouble = why_unreachable(status(401), settings(key=None, url="ws://127.0.0.1:8765/ws-api"))
    assert "wants an API key (401)" in trouble.says
