"""What every engine must come to, computed from the frames in plain Python."""

import collections
import json

WINDOW_MS = 60_000
LIQUIDATIONS = "liquidationOrders"

Key = tuple[str, int]  # asset or channel, window start ms
Cell = list  # usd side 1, usd side 2, count 1, count 2


def totals(lines) -> dict[Key, Cell]:
    """Return each window's sums; `lines` are (channel, frame as text)."""
    found = collections.defaultdict(lambda: [0.0, 0.0, 0, 0])
    for channel, frame in lines:
        for record in json.loads(frame)["data"]:
            cell = found[key_of(channel, record)]
            cell[record["side"] - 1] += record["volUsd"]
            cell[record["side"] + 1] += 1
    return found


def weights(lines) -> collections.Counter[Key]:
    """Return how many frames each final stands for, to turn finals a second into frames a second."""
    return collections.Counter(key_of(channel, json.loads(frame)["data"][0]) for channel, frame in lines)


def key_of(channel, record) -> Key:
    """Return which window a record belongs to."""
    name = record["baseAsset"] if channel == LIQUIDATIONS else channel
    return name, record["time"] // WINDOW_MS * WINDOW_MS


def same(found: Cell, expected: Cell) -> bool:
    """Whether counts are equal, and sums to 1e-6."""
    sums = zip(found[:2], expected[:2], strict=True)
    return found[2:] == expected[2:] and all(abs(x - y) <= 1e-6 * max(1.0, abs(y)) for x, y in sums)


def verdict(found: dict[Key, Cell], expected: dict[Key, Cell], repeats: int) -> str:
    """Say `yes`, or what is not right."""
    missing = len(expected.keys() - found.keys())
    wrong = sum(not same(found[key], cell) for key, cell in expected.items() if key in found)
    if missing or wrong or repeats:
        return f"{missing} missing, {wrong} wrong, {repeats} repeated of {len(expected)}"
    return "yes"
