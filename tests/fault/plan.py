"""When which blow falls, and how hard: decided by the seed alone, before the storm begins. Pure."""

import random
from collections.abc import Sequence
from typing import NamedTuple

#: How often each comes, in proportion.
WEIGHTS = {
    "kill": 6.0,
    "double-kill": 1.5,
    "freeze": 4.0,
    "stop": 3.0,
    "broker-kill": 0.7,
    "broker-freeze": 0.7,
    "broker-restart": 0.7,
    "broker-outage": 0.5,
    "rescale": 0.8,
    "netcut": 2.0,
    # what a feed does to its producers
    "cut": 3.0,
    "half-open": 2.0,
    "no-pong": 1.0,
    "flood": 2.0,
    "drip": 2.0,
    "lull": 2.0,
    "odd": 3.0,
    "pieces": 1.0,
    "too-long": 1.5,
    "oversized": 1.0,
    "compressed": 1.0,
    "close": 2.0,
    "refuse": 3.0,
    "feed-restart": 2.0,
}
FIRST_SECONDS = 3.0
GAP_SECONDS = (2.5, 8.0)
CALM_SHARE = 0.25  # of the gaps are long enough for everything to flow again
CALM_SECONDS = (12.0, 18.0)
FREEZE_SECONDS = (3.0, 15.0)
CUT_SECONDS = (2.0, 15.0)
BROKER_FREEZE_SECONDS = (2.0, 12.0)
BROKER_REST_SECONDS = 30.0  # between two blows to brokers
EARLY_SHARE = 0.3  # of the kills are followed by another, early in the next life
EARLY_SECONDS = (0.1, 4.0)
RESCALE_SECONDS = (6.0, 10.0)  # at each number of workers
OUTAGE_SECONDS = (5.0, 25.0)  # within what a producer waits for at its end
DRIP_SECONDS = (0.5, 4.0)
LULL_SECONDS = (2.0, 8.0)
REFUSE_SECONDS = (1.0, 8.0)
FEED_DOWN_SECONDS = (0.2, 5.0)


class Blow(NamedTuple):
    """One blow. `at_seconds` after the begin; `chance` in [0, 1) picks the victim; `seconds` how long it lasts."""

    at_seconds: float
    kind: str
    chance: float
    seconds: float = 0.0
    early_after_seconds: float | None = None  # a second kill, so long after the victim is back


def plan(seed: int, seconds: float, kinds: Sequence[str], pace: float = 1.0) -> list[Blow]:
    """Return the blows of a storm, in their order; each kind comes at least once, if time allows.

    At a `pace` of 4 all is four times as quick: as if `seconds` were four times as many, and then shortened.
    """
    return [
        blow._replace(
            at_seconds=blow.at_seconds / pace,
            seconds=blow.seconds / pace,
            early_after_seconds=None if blow.early_after_seconds is None else blow.early_after_seconds / pace,
        )
        for blow in _plan(seed, seconds * pace, kinds)
    ]


def _plan(seed: int, seconds: float, kinds: Sequence[str]) -> list[Blow]:
    chance = random.Random(f"blows of {seed}")
    first = chance.sample(list(kinds), len(kinds))
    blows: list[Blow] = []
    at, broker_again_at = FIRST_SECONDS, 0.0
    while kinds and at < seconds:
        left = [kind for kind in first if not _waits(kind, at, broker_again_at)]
        if left:
            kind = left[0]
            first.remove(kind)
        else:
            now = [kind for kind in kinds if not _waits(kind, at, broker_again_at)]
            if not now:
                at += 1.0
                continue
            kind = chance.choices(now, [WEIGHTS[kind] for kind in now])[0]
        blow = _blow(kind, at, chance)
        blows.append(blow)
        if kind.startswith("broker-"):
            broker_again_at = at + blow.seconds + BROKER_REST_SECONDS
        at += chance.uniform(*(CALM_SECONDS if chance.random() < CALM_SHARE and not first else GAP_SECONDS))
    return blows


def _waits(kind: str, at: float, broker_again_at: float) -> bool:
    return kind.startswith("broker-") and at < broker_again_at


def _blow(kind: str, at: float, chance: random.Random) -> Blow:
    seconds = {
        "freeze": FREEZE_SECONDS,
        "netcut": CUT_SECONDS,
        "broker-freeze": BROKER_FREEZE_SECONDS,
        "broker-outage": OUTAGE_SECONDS,
        "rescale": RESCALE_SECONDS,
        "drip": DRIP_SECONDS,
        "lull": LULL_SECONDS,
        "refuse": REFUSE_SECONDS,
        "feed-restart": FEED_DOWN_SECONDS,
    }.get(kind, (0.0, 0.0))
    early = chance.uniform(*EARLY_SECONDS) if kind == "kill" and chance.random() < EARLY_SHARE else None
    return Blow(at, kind, chance.random(), chance.uniform(*seconds), early)
