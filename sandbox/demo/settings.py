"""What the demo was asked for: frozen, checked once."""

from dataclasses import dataclass
from pathlib import Path

from sandbox.simulate.faults import Fault
from schemas.channels import LIQUIDATIONS
from schemas.durations import Duration
from schemas.errors import UsageError
from schemas.topics import Topics

#: What the demo's producer subscribes to; two minVols of one market among them, which are never added together.
CHANNELS = (
    LIQUIDATIONS,
    "futures_trades@Binance_BTCUSDT@10000",
    "futures_trades@Binance_BTCUSDT@100000",
    "futures_trades@Binance_ETHUSDT@10000",
    "futures_trades@Binance_1000PEPEUSDT@10000",
    "futures_trades@OKX_BTC-USDT-SWAP@10000",
    "futures_trades@Bybit_SOLUSDT@10000",
    "futures_trades@Gate_BTC_USDT@10000",
    "futures_trades@Deribit_BTC-PERPETUAL@10000",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen, all on 127.0.0.1. Raises UsageError for one given twice."""

    kafka: int
    feed: int
    web: int
    metrics: int  # the producer's

    def __post_init__(self) -> None:
        """Refuse ports given twice."""
        if len({self.kafka, self.feed, self.web, self.metrics}) < 4:
            raise UsageError("two parts of the demo were given one port: let them choose, or give each its own")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What runs and where its data are; `seconds` None runs until a signal."""

    data_dir: Path
    ports: Ports
    windows: tuple[Duration, ...]
    topics: Topics
    rate_per_s: float = 200.0
    seed: int = 7
    faults: tuple[Fault, ...] = ()
    seconds: float | None = None

    @property
    def log_dir(self) -> Path:
        """Where the logs are, one file a part."""
        return self.data_dir / "logs"

    @property
    def dashboard(self) -> str:
        """The address of the worker's dashboard."""
        return f"http://127.0.0.1:{self.ports.web}/"
