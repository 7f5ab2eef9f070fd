"""What the producer is told at start, checked once; and the API key, which nothing but the feed's address may show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from producer.channel_patterns import CHANNELS_MAX, check_channel
from schemas.channels import LIQUIDATIONS, canonical_name
from schemas.errors import UsageError
from schemas.topics import Topics

DEFAULT_URL = "wss://open-ws.coinglass.com/ws-api"
KEY_VARIABLE = "COINGLASS_API_KEY"
KEY_FILE_VARIABLE = "COINGLASS_API_KEY_FILE"
KEY_IN_QUERY = "cg-api-key"
SET_KEY = f"set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}"

GROUP_CHARACTERS_MAX = 64
#: Channels of one connection: a mark names them all, and must stay well below what a broker takes.
PER_CONNECTION_MAX = 1_000

_COINGLASS = "coinglass.com"
_MIB = 1024 * 1024
#: Its file has some pages of its own, and is written a part at a time.
SPOOL_BYTES_MIN = 256 * 1024


class Secret:
    """A text that does not show itself: not printed, not formatted, not in a dataclass's repr.

    >>> f"the key is {Secret('abc')}"
    'the key is Secret(***)'
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; the caller answers for where it goes."""
        return self._text

    def scrub(self, text: str) -> str:
        """Return another text without this one, as it is and as it stands in an address."""
        return text.replace(self._text, "***").replace(quote(self._text, safe=""), "***")

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class Timing:
    """When the protocol speaks and how long it waits, ms.

    `ping` is the text that CoinGlass asks for every 20 s; its missing answer means the connection is dead. A probe is a
    WebSocket ping: it proves that a quiet connection is alive, its missing answer proves nothing.
    """

    ping_every_ms: int = 20_000
    pong_timeout_ms: int = 10_000
    probe_every_ms: int = 1_000
    #: How often a channel that the feed refused is asked for again.
    ask_again_every_ms: int = 180_000


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """Everything the producer is told; sizes in bytes, times in ms. Raises UsageError for what cannot be used."""

    bootstrap: str
    topics: Topics = field(default_factory=Topics)
    url: str = DEFAULT_URL
    channels: tuple[str, ...] = (LIQUIDATIONS,)
    #: Where the channels are looked for again while the producer runs.
    channels_file: Path | None = None
    channels_per_connection: int = 100
    #: Name shared by producers that read the same channels, so that what both heard is counted once.
    redundant_group: str | None = None
    api_key: Secret | None = None
    mark_every_ms: int = 1_000
    buffer_bytes_max: int = 256 * _MIB
    #: Where and how much is kept for a broker that is away for long; 0 bytes: nothing is.
    spool_dir: Path = Path("data/spool")
    spool_bytes_max: int = 0
    metrics_port: int | None = None
    timing: Timing = field(default_factory=Timing)
    #: Longest for an attempt as a whole: connecting, TLS, the WebSocket's handshake.
    connect_timeout_ms: int = 10_000
    channels_looked_at_every_ms: int = 500
    #: Longest the reading thread sits without looking up: ticks and stop are at most this late.
    tick_every_ms: int = 200
    #: A longer message ends the connection: nothing of the feed's comes near, and it is held in memory whole.
    message_bytes_max: int = 16 * _MIB
    #: A longer frame is not kept: a broker takes 1 MiB unless told otherwise, headers included.
    frame_bytes_max: int = 1_000_000
    batch_bytes_max: int = 512 * 1024
    linger_ms: int = 5
    request_timeout_ms: int = 30_000
    backoff_first_ms: int = 500
    backoff_ms_max: int = 30_000
    #: A connection that was heard for this long was a good one: the next pause starts small again.
    healthy_after_ms: int = 10_000
    #: How long a feed is left alone that closed the connection because it does not want us.
    refused_pause_ms: int = 300_000
    #: A channel silent for longer than it ever was is quiet, after so long at the earliest; one never heard, after
    #: the second of these.
    quiet_after_ms: int = 60_000
    never_heard_after_ms: int = 600_000
    drain_timeout_ms: int = 30_000
    #: A broker that acknowledged nothing for so long is away: what waits goes to the spool, memory full or not.
    spool_after_ms: int = 5_000

    def __post_init__(self) -> None:
        """Refuse what cannot work, each with its remedy."""
        _check_url(self.url, self.api_key)
        if not self.channels:
            raise UsageError("no channel to subscribe to: name one with --channel")
        for name in self.channels:
            check_channel(name)
        if len(self.channels) > CHANNELS_MAX:
            raise UsageError(f"more than {CHANNELS_MAX} channels: name fewer")
        if len({canonical_name(name) for name in self.channels}) != len(self.channels):
            raise UsageError("a channel is named twice")
        if not 1 <= self.channels_per_connection <= PER_CONNECTION_MAX:
            raise UsageError(f"--channels-per-connection must be from 1 to {PER_CONNECTION_MAX}")
        if self.redundant_group is not None and not (
            1 <= len(self.redundant_group) <= GROUP_CHARACTERS_MAX and self.redundant_group.isprintable()
        ):
            raise UsageError(f"--redundant-group must be a name of 1 to {GROUP_CHARACTERS_MAX} printable characters")
        if not 50 <= self.mark_every_ms <= 60_000:
            raise UsageError("--mark-every must be from 50ms to 60s, such as 1s")
        if self.buffer_bytes_max < 1_024:
            raise UsageError("the buffer must hold at least 1024 bytes")
        if self.spool_bytes_max != 0 and self.spool_bytes_max < SPOOL_BYTES_MIN:
            raise UsageError(f"the spool must hold at least {SPOOL_BYTES_MIN} bytes, or 0 for none")

    @property
    def place(self) -> str:
        """The feed's address for messages: no query, no user, no key."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def scrub(self, text: str) -> str:
        """Return a text without the API key."""
        return self.api_key.scrub(text) if self.api_key else text

    def address(self) -> str:
        """Return the feed's address with the key in its query; an existing query stays. Not to be shown."""
        if self.api_key is None:
            return self.url
        joint = "&" if urlsplit(self.url).query else "?"
        return f"{self.url.rstrip('?&')}{joint}{KEY_IN_QUERY}={quote(self.api_key.reveal(), safe='')}"


def _check_url(url: str, key: Secret | None) -> None:
    """Refuse an address that is not a WebSocket's, or that holds or would give away the key."""
    if KEY_IN_QUERY in url.lower():
        raise UsageError(f"--url holds {KEY_IN_QUERY}, where every user of this machine can read it: {SET_KEY} instead")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("ws", "wss") or not host or not url.isprintable() or " " in url or parts.fragment:
        raise UsageError("--url is not a WebSocket's address: write ws://host:port/path or wss://…")
    if host == _COINGLASS or host.endswith(f".{_COINGLASS}"):
        if key is None:
            raise UsageError(f"CoinGlass's feed needs an API key: {SET_KEY}")
        if parts.scheme != "wss":
            raise UsageError("CoinGlass's feed over ws:// would show the API key to the network: use wss://")


def read_api_key(environment: Mapping[str, str]) -> Secret | None:
    """Return the key from COINGLASS_API_KEY, or from the file that COINGLASS_API_KEY_FILE names; None without either.

    Raises UsageError, without the key, if both are set or what is there is no key.
    """
    text, path = environment.get(KEY_VARIABLE, ""), environment.get(KEY_FILE_VARIABLE, "")
    if text and path:
        raise UsageError(f"{KEY_VARIABLE} and {KEY_FILE_VARIABLE} are both set: unset one")
    where = KEY_VARIABLE
    if path:
        where = f"{path}, named by {KEY_FILE_VARIABLE},"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise UsageError(f"{where} cannot be read: {reason}") from None
    if not (text or path):
        return None
    key = text.strip()
    if not key or not key.isprintable() or " " in key:
        raise UsageError(f"{where} holds no API key: put the key there and nothing else")
    return Secret(key)
