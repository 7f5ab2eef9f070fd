"""A backtest: momentum on the imbalance of liquidations, traded without looking ahead.

    python examples/backtest.py                           # on a sample that it makes
    python examples/backtest.py --input my-export         # on what you exported

Where far more shorts than longs of BTC were liquidated in a minute, the forced buying often goes on: be long for a
while; the other way round, be short. A final is acted on when it was available, and filled at the opening price of the
first trade window that begins after that. Draws the equity to an SVG file. No advice, and on the sample no meaning.
"""

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sample import write_sample

from processors.replay import Final, LiquidationVolume, TradeImbalance, replay

ASSET, SYMBOL = "BTC", "BTCUSDT"
IMBALANCE_MIN = 0.6
USD_MIN = 50_000.0
FEE = 0.0002  # of what is traded
HOLD_MS = 3 * 60_000


@dataclass
class Strategy:
    """One unit of equity at the beginning; a position of -1, 0 or 1 times the equity."""

    equity: float = 1.0
    position: int = 0
    price: float | None = None  # that the equity was last reckoned at
    wanted: int = 0
    decided_ms: int = 0  # when `wanted` could first have been known
    trades: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def take(self, final: Final) -> None:
        """Take finals as they became available."""
        if final.partial or final.coverage != 1.0:  # nothing is known of what was missed
            return
        if isinstance(final, LiquidationVolume) and final.asset == ASSET and final.total_usd >= USD_MIN:
            imbalance = (final.short_usd - final.long_usd) / final.total_usd
            if abs(imbalance) >= IMBALANCE_MIN:
                self.wanted, self.decided_ms = (1 if imbalance > 0 else -1), final.available_at_ms
        if isinstance(final, TradeImbalance) and final.symbol == SYMBOL:
            self._trade(final)

    def _trade(self, final: TradeImbalance) -> None:
        self._reckon(final.open)
        if final.window_start >= self.decided_ms + HOLD_MS:
            self.wanted = 0
        if final.window_start >= self.decided_ms and self.wanted != self.position:
            self.equity *= 1 - FEE * abs(self.wanted - self.position)
            self.position, self.trades = self.wanted, self.trades + 1
        self._reckon(final.close)
        self.curve.append((final.available_at_ms, self.equity))

    def _reckon(self, price: float) -> None:
        if self.price is not None:
            self.equity *= 1 + self.position * (price / self.price - 1)
        self.price = price


def run(finals: Iterable[Final]) -> Strategy:
    """Play the strategy over finals in the order of `available_at_ms`."""
    strategy = Strategy()
    for final in finals:
        strategy.take(final)
    return strategy


def draw(curve: list[tuple[int, float]], path: Path) -> None:
    """Write the equity over time as an SVG file."""
    width, height, edge = 800, 300, 30
    times, equities = [at_ms for at_ms, _ in curve], [equity for _, equity in curve]
    low, high = min(equities), max(equities)

    def point(at_ms: int, equity: float) -> str:
        x = edge + (at_ms - times[0]) / max(1, times[-1] - times[0]) * (width - 2 * edge)
        y = height - edge - (equity - low) / (high - low or 1) * (height - 2 * edge)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(point(*one) for one in curve)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<polyline points="{line}" fill="none" stroke="#16c" stroke-width="2"/>'
        f'<text x="{edge}" y="20" font-size="14">equity {equities[-1]:.4f} (low {low:.4f}, high {high:.4f})</text>'
        "</svg>\n"
    )


def main() -> None:
    """Run the backtest, print its end, draw its curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="an export; without it, a sample is made")
    parser.add_argument("--out", type=Path, default=Path("equity.svg"), help="where the curve goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.input is None:
            arguments.input = Path(folder) / "sample"
            write_sample(arguments.input)
        strategy = run(replay(input=arguments.input, windows=["1m"]))
    draw(strategy.curve, arguments.out)
    print(f"{len(strategy.curve)} minutes, {strategy.trades} trades, equity {strategy.equity:.6f}: {arguments.out}")


if __name__ == "__main__":
    main()
