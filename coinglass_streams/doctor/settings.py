"""What the doctor is asked to look at: the flags of `produce`, `process` and `kafka` that decide how a setup works."""

from dataclasses import dataclass
from pathlib import Path

from coinglass_streams.doctor.key import KeySeen
from processors.settings import check_delays
from processors.windows import WindowSize, window_sizes
from producer.settings import ProducerSettings, Secret
from schemas.durations import Duration
from schemas.errors import UsageError
from schemas.topics import Topics

LISTEN_MS_MIN, LISTEN_MS_MAX = 100, 60_000
CONNECT_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """Raises UsageError for what `produce` or `process` would refuse too; a missing key is a finding, not an error."""

    bootstrap: str
    topics: Topics
    url: str
    channels: tuple[str, ...]
    key: KeySeen
    listen: Duration
    windows: tuple[Duration, ...]
    mark_every: Duration
    mark_delay: Duration
    folders: tuple[Path, ...]  # where state, spool and an embedded Kafka's data lie
    app_id: str | None = None
    schema_registry: str | None = None

    def __post_init__(self) -> None:
        """Check everything once."""
        window_sizes(self.windows)
        check_delays(Duration("0s", 0), self.mark_delay)
        if not LISTEN_MS_MIN <= self.listen.ms <= LISTEN_MS_MAX:
            raise UsageError(f"--listen {self.listen.text}: listen for 100ms to 60s, such as 5s")
        self._feed(self.key.secret or Secret("any"))

    @property
    def window_sizes(self) -> tuple[WindowSize, ...]:
        """The windows, checked."""
        return window_sizes(self.windows)

    @property
    def feed(self) -> ProducerSettings | None:
        """How the producer would reach the feed; None where it would not try without an API key."""
        try:
            return self._feed(self.key.secret)
        except UsageError:
            return None

    def _feed(self, key: Secret | None) -> ProducerSettings:
        return ProducerSettings(
            bootstrap=self.bootstrap,
            topics=self.topics,
            url=self.url,
            channels=self.channels,
            api_key=key,
            mark_every_ms=self.mark_every.ms,
            connect_timeout_ms=CONNECT_TIMEOUT_MS,
        )
