"""What a failed attempt to reach the feed means: a bad key, a plan, TLS, the network. Pure.

Nothing of the error's own text is used where it may hold the address, and so the key.
"""

import socket
import ssl

import websocket

from coinglass_streams.doctor.findings import Trouble
from producer.feed_errors import LostError
from producer.settings import SET_KEY, ProducerSettings

_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NETWORK = "see that this machine reaches it: firewall, proxy, address"


def why_unreachable(error: Exception, settings: ProducerSettings) -> Trouble:
    """Return what stopped a connection, and the remedy."""
    place = settings.place
    match error:
        case websocket.WebSocketBadStatusException():
            return _of_status(error.status_code, settings)
        case ssl.SSLCertVerificationError(verify_code=code) if code in _NAME_MISMATCH:
            remedy = "see that --url is right, and that no proxy answers in the feed's name"
            return Trouble(f"{place} shows a certificate of another name", remedy)
        case ssl.SSLCertVerificationError():
            remedy = "see this machine's date and its certificates, and that no proxy answers in the feed's name"
            return Trouble(f"{place} shows a certificate that cannot be trusted ({error.verify_message})", remedy)
        case ssl.SSLError():
            return Trouble(f"{place} does not speak TLS", "write ws:// where it is a simulated feed; see the port")
        case websocket.WebSocketTimeoutException() | TimeoutError():
            return Trouble(f"{place} did not answer within {settings.connect_timeout_ms / 1000:g} s", _NETWORK)
        case websocket.WebSocketAddressException() | socket.gaierror() | UnicodeError():
            return Trouble(f"the name in {place} cannot be looked up", "see DNS, and --url")
        case websocket.WebSocketProxyException():
            return Trouble(f"the proxy does not let us through to {place}", "see http_proxy, https_proxy, no_proxy")
        case ConnectionRefusedError():
            return Trouble(f"nothing listens at {place}", "see --url, or start 'coinglass-streams simulate'")
        case websocket.WebSocketConnectionClosedException() | ConnectionResetError():
            return Trouble(f"{place} closed the connection", _NETWORK)
        case LostError():
            return Trouble(f"{place}: {error}", _NETWORK)
        case OSError() if error.strerror:
            return Trouble(f"{place} cannot be reached ({error.strerror})", _NETWORK)
    return Trouble(f"{place} does not speak as a WebSocket server ({type(error).__name__})", "see --url")


def _of_status(status: int, settings: ProducerSettings) -> Trouble:
    place = settings.place
    match status:
        case 401 if settings.api_key is None:
            return Trouble(f"{place} wants an API key (401)", SET_KEY)
        case 401:
            return Trouble(
                f"{place} refused the API key (401)", f"see that it is right and not expired, then {SET_KEY}"
            )
        case 403:
            remedy = (
                "see that the plan has WebSocket channels (Standard and above), and that the key allows this address"
            )
            return Trouble(f"{place} lets this key not in (403)", remedy)
        case 404:
            return Trouble(f"there is no feed at {place} (404)", "see the path in --url")
        case 429:
            return Trouble(f"{place} has too many connections of this key (429)", "stop those that are not needed")
        case _ if 300 <= status < 400:
            return Trouble(f"{place} sends us elsewhere ({status})", "see --url: a redirect is not followed with a key")
        case _ if status >= 500:
            return Trouble(f"{place} is in trouble itself ({status})", "wait, and try again")
    return Trouble(f"{place} does not take a WebSocket (status {status})", "see --url")
