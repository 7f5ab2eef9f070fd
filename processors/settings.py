"""Settings of one worker: frozen, and checked once at start."""

from dataclasses import dataclass, field
from pathlib import Path

from processors.windows import WindowSize, window_sizes
from schemas.durations import Duration
from schemas.errors import UsageError
from schemas.topics import Topics

GRACE_MS_MAX = 3_600_000


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What `coinglass-streams process` was asked for."""

    bootstrap: str  # host:port, or several with commas between
    topics: Topics
    app_id: str  # consumer group, and the beginning of changelogs' names and transactional ids
    windows: tuple[Duration, ...]
    grace: Duration
    mark_delay: Duration
    state_dir: Path
    web_host: str
    web_port: int
    member: str | None = None  # static membership: this name's partitions wait for it to come back
    assume_coverage: bool = False
    schema_registry: str | None = None
    web_token: str | None = field(default=None, repr=False)  # what the web views ask for as a bearer token

    def __post_init__(self) -> None:
        """Refuse what cannot work; raises UsageError."""
        window_sizes(self.windows)
        check_delays(self.grace, self.mark_delay)
        # Kafka's limit for a topic's name is 249, and changelogs begin with the id.
        if not 0 < len(self.app_id) <= 100 or not set(self.app_id) <= _NAME_CHARACTERS:
            raise UsageError(f"--app-id {self.app_id!r}: use 1 to 100 letters, digits, dots, dashes, underscores")
        if self.member is not None and not (0 < len(self.member) <= 100 and set(self.member) <= _NAME_CHARACTERS):
            raise UsageError(f"--member {self.member!r}: use 1 to 100 letters, digits, dots, dashes, underscores")

    @property
    def window_sizes(self) -> tuple[WindowSize, ...]:
        """The windows, checked."""
        return window_sizes(self.windows)


def read_token(path: Path) -> str:
    """Return the token that stands in a file; raises UsageError, without it, where there is none."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--web-token-file {path} cannot be read: {reason}") from None
    if not (_TOKEN_CHARACTERS_MIN <= len(token) <= _TOKEN_CHARACTERS_MAX and set(token) <= _TOKEN_CHARACTERS):
        raise UsageError(
            f"--web-token-file {path} holds no token: put 16 to 500 letters, digits, or any of -._~+/= there, "
            "such as what 'openssl rand -hex 32' prints, and nothing else"
        )
    return token


def check_delays(grace: Duration, mark_delay: Duration) -> None:
    """Refuse delays of the watermark that are too long; raises UsageError."""
    for flag, delay in (("--grace", grace), ("--mark-delay", mark_delay)):
        if delay.ms > GRACE_MS_MAX:
            raise UsageError(f"{flag} {delay.text}: at most 1h")


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_TOKEN_CHARACTERS = _NAME_CHARACTERS | frozenset("~+/=")  # what RFC 6750 lets a bearer token be made of
_TOKEN_CHARACTERS_MIN, _TOKEN_CHARACTERS_MAX = 16, 500
