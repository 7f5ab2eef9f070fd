"""Which ends of a worker or a producer are right. Pure."""

import re
from collections.abc import Sequence

CRASHED = 70

NO_BROKER = "no Kafka broker answers"
NOT_DRAINED = "were not published"


def critical_lines(log: str) -> list[str]:
    """Return the log's lines of the highest level."""
    return [line for line in log.splitlines() if " level=critical " in line]


def judge(status: int, blows: Sequence[str], log: str, broker_was_hit: bool) -> tuple[str, bool]:
    """Return how a worker ended, in a few words, and whether it may end so: by our blow, or 70 with one critical line.

    `blows` are what hit this life of the worker ("kill", "stop"); `broker_was_hit` says whether a broker was being
    hit during it: then, or cut off itself, one that is just starting may find none and say so, with status 1.
    """
    lines = critical_lines(log)
    if status == -9:
        return ("killed", "kill" in blows)
    if status == 0:
        return ("0 stopped", "stop" in blows)
    if status == -15:
        return ("stopped before it began", "stop" in blows and "worker.starting" not in log)
    if status == CRASHED:
        return (f"70 {_what(lines[0])}" if len(lines) == 1 else f"70 with {len(lines)} critical lines", len(lines) == 1)
    if status == 1 and NO_BROKER in log and "worker.starting" not in log:
        return ("1 no broker at start", broker_was_hit or "netcut" in blows)
    return (f"{status} unexpected", False)


def judge_producer(status: int, blows: Sequence[str], log: str, broker_was_hit: bool) -> tuple[str, bool]:
    """Return how a producer ended, in a few words, and whether it may end so: by our blow, and 0 when told to stop.

    One that is just starting may find no broker and say so, and one that is told to stop may find none to drain to.
    """
    if status == -9:
        return ("killed", "kill" in blows)
    if status == 0:
        return ("0 stopped", "stop" in blows)
    if status == -15:
        return ("stopped before it began", "stop" in blows and "producer.started" not in log)
    if status == 1 and NO_BROKER in log and "producer.started" not in log:
        return ("1 no broker at start", broker_was_hit or "netcut" in blows)
    if status == 1 and NOT_DRAINED in log:
        return ("1 no broker to drain to", "stop" in blows and (broker_was_hit or "netcut" in blows))
    return (f"{status} unexpected", False)


def _what(line: str) -> str:
    """Return the gist of a critical line, without names and numbers, so that like ones are counted together."""
    what, _, error = line.partition(" what=")[2].partition(" error=")
    gist = re.sub(r"TP\(.*?\)|\d+", "…", what.strip('"'))
    name = re.match(r"\W*(\w+)", error)
    return f"{gist}: {name[1]}" if name and name[1] != "None" else gist
