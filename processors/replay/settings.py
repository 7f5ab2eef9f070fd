"""What one replay was asked for: frozen, checked once, and picklable, as it goes to the processes of `--jobs`."""

from dataclasses import dataclass, field
from pathlib import Path

from processors.pipeline import PipelineSettings
from processors.replay.ranges import Range
from schemas.channels import parse_channel
from schemas.errors import UsageError
from schemas.topics import Topics

JOBS_MAX = 64


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """Where the raw records are, which of them to take, and what decides the results."""

    pipeline: PipelineSettings  # its topics are those that the results name
    source: Topics = field(default_factory=Topics)
    bootstrap: str = "127.0.0.1:9092"
    input: Path | None = None  # exported files, instead of the broker's topics
    range: Range = field(default_factory=Range)
    flush: bool = False  # give out windows that are open at the end, marked partial
    channels: frozenset[str] = frozenset()  # all, where empty
    assets: frozenset[str] = frozenset()
    jobs: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work; raises UsageError."""
        for channel in self.channels:
            if parse_channel(channel) is None:
                raise UsageError(
                    f"--channel {channel!r} is not a channel: write liquidationOrders, or "
                    "futures_trades@{exchange}_{symbol}@{minVol}"
                )
        if "" in self.assets:
            raise UsageError("--asset is empty: write an asset, such as BTC")
        if not 1 <= self.jobs <= JOBS_MAX:
            raise UsageError(f"--jobs {self.jobs}: use 1 to {JOBS_MAX}")
