"""Write a seeded stream of CoinGlass frames as `key<TAB>frame` lines: 20 % liquidations, 80 % trades on 40 channels."""

import json
import random
import sys

ASSETS = ("BTC ETH SOL XRP DOGE BNB ADA LTC AVAX LINK SUI PEPE WIF ARB OP TRX DOT NEAR APT HBAR").split()  # noqa: SIM905
EXCHANGES = ["Binance", "OKX", "Bybit", "Bitget", "HTX", "Gate"]


def frames(count, seed=7, start_ms=1725416318379.0, step_ms=8.0):
    rnd = random.Random(seed)
    price = {a: 10 ** rnd.uniform(-4, 5) for a in ASSETS}
    channels = [f"futures_trades@{e}_{a}USDT@10000" for a in ASSETS for e in EXCHANGES[:2]]
    weights = [1 / (i + 1) for i in range(len(channels))]
    now = start_ms

    def record(asset, exchange, low):
        price[asset] *= 1 + rnd.gauss(0, 1e-5)
        return {
            "baseAsset": asset,
            "exName": exchange,
            "price": float(f"{price[asset]:.6g}"),
            "side": rnd.randrange(1, 3),
            "symbol": asset + "USDT",
            "time": int(now) - rnd.randrange(0, 800),
            "volUsd": round(low * rnd.paretovariate(1.2), 5),
        }

    for _ in range(count):
        now += rnd.expovariate(1 / step_ms)
        if rnd.random() < 0.2:
            channel = "liquidationOrders"
            data = [record(rnd.choice(ASSETS), rnd.choice(EXCHANGES), 50) for _ in range(rnd.choice([1, 1, 1, 2, 3]))]
        else:
            channel = rnd.choices(channels, weights)[0]
            exchange, symbol = channel.split("@")[1].split("_")
            data = [record(symbol[:-4], exchange, 10000) for _ in range(rnd.choice([1, 1, 2, 4]))]
        yield channel, json.dumps({"channel": channel, "data": data}, separators=(",", ":"))


if __name__ == "__main__":
    for channel, frame in frames(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7):
        print(channel, frame, sep="\t")
