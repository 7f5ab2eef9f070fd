"""Whoever looks at a worker: open event streams, and requests at a pace; cheap, as it shares the machine.

    python -m tests.benchmarks.web_load http://127.0.0.1:6066 --streams 200 --requests 500

Runs until a line comes on standard input, then prints what it got as JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from urllib.parse import urlsplit

from processors.views.event_bytes import Piece, event

CONNECTIONS = 20
RESET = Piece(event("reset", {}))
PATHS = (
    "/liquidations/BTC/",
    "/imbalance/Binance/BTCUSDT/",
    "/liquidations/ETH/?windows=60",
    "/imbalance/OKX/SOLUSDT/?windows=1",
    "/liquidations/?windows=2",
    "/imbalance/?windows=2",
)


class Stream(asyncio.Protocol):
    """Reads a stream of events, as browsers ask for it, and only counts it."""

    def __init__(self, seen, plain):
        coding = "" if plain else "Accept-Encoding: gzip\r\n"
        self._request, self._seen = f"GET /events HTTP/1.1\r\nHost: bench\r\n{coding}\r\n".encode(), seen
        self._reset = RESET.plain if plain else RESET.packed

    def connection_made(self, transport):
        transport.write(self._request)

    def data_received(self, data):
        self._seen["stream_bytes"] += len(data)
        self._seen["resets"] += data.count(self._reset)

    def connection_lost(self, error):
        self._seen["streams_lost"] += 1


async def ask(address, numbers, per_second, seen, took_ms):
    """Ask one path after the other on one connection, at a pace."""
    reader, writer = await asyncio.open_connection(*address)
    began, count = time.perf_counter(), 0
    while True:
        ahead = began + count / per_second - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        sent = time.perf_counter()
        path = PATHS[next(numbers) % len(PATHS)]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        seen["request_bytes"] += len(await reader.readexactly(length))
        seen[head[9:12].decode()] = seen.get(head[9:12].decode(), 0) + 1
        took_ms.append((time.perf_counter() - sent) * 1e3)
        count += 1


async def run(args):
    """Look on until told to stop; return what was seen."""
    address = (urlsplit(args.web).hostname, urlsplit(args.web).port)
    seen = {"stream_bytes": 0, "request_bytes": 0, "resets": 0, "streams_lost": 0}
    loop, took_ms, numbers = asyncio.get_running_loop(), [], iter(range(1 << 60))
    for _ in range(args.streams):
        await loop.create_connection(lambda: Stream(seen, args.plain), *address)
    pace = args.requests / CONNECTIONS
    asking = [
        asyncio.create_task(ask(address, numbers, pace, seen, took_ms)) for _ in range(CONNECTIONS if pace else 0)
    ]
    began = time.perf_counter()
    print("looking", flush=True)
    stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    await asyncio.wait([stopped, *asking], return_when=asyncio.FIRST_COMPLETED)
    seconds = time.perf_counter() - began
    for task in asking:
        task.cancel()
    cuts = statistics.quantiles(took_ms, n=100) if len(took_ms) > 1 else [0.0] * 99
    return {
        **seen,
        "seconds": seconds,
        "requests_per_s": len(took_ms) / seconds,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
    }


def main():
    """Look on and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("web")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--requests", type=float, default=500)
    parser.add_argument("--plain", action="store_true", help="ask for streams that are not compressed")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
