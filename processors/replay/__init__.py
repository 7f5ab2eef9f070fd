"""The worker's own step over the past: `from processors.replay import replay`."""

from processors.replay.api import Replay, replay
from processors.replay.results import Final, LiquidationVolume, TradeImbalance

__all__ = ["Final", "LiquidationVolume", "Replay", "TradeImbalance", "replay"]
