"""Channels written short: `futures_trades@{Binance,OKX}_{majors}USDT@10000` stands for every combination. Pure.

`{a,b}` are alternatives, `{name}` those of the list of that name. Nothing nests.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod

from schemas.channels import LIQUIDATIONS, canonical_name, parse_channel
from schemas.errors import UsageError

#: More channels than any feed has connections for: a slip in a pattern, not a wish.
CHANNELS_MAX = 2_000

_BRACES = re.compile(r"\{([^{}]*)\}")

Lists = Mapping[str, Sequence[str]]


def expand(pattern: str, lists: Lists) -> list[str]:
    """Return the channels that a pattern stands for, in the order they are written; raises UsageError.

    >>> expand("futures_trades@{OKX,Gate}_{majors}@0", {"majors": ["A", "B"]})[1:3]
    ['futures_trades@OKX_B@0', 'futures_trades@Gate_A@0']
    """
    pieces = _BRACES.split(pattern)
    texts, braces = pieces[::2], pieces[1::2]
    if any("{" in text or "}" in text for text in texts):
        raise UsageError(
            f"{pattern!r} has a brace without its partner, or one within another: write {{a,b}} or {{list}}"
        )
    choices = [_alternatives(written, pattern, lists) for written in braces]
    if prod(map(len, choices)) > CHANNELS_MAX:
        raise UsageError(f"{pattern!r} stands for more than {CHANNELS_MAX} channels: name fewer")
    names = [
        "".join(part for pair in zip(texts, (*chosen, ""), strict=True) for part in pair)
        for chosen in product(*choices)
    ]
    for name in names:
        check_channel(name)
    return names


def expanded(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the channels of several patterns without lists, each channel once, under the first of its spellings."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for name in expand(pattern, {}):
            found.setdefault(canonical_name(name), name)
    return tuple(found.values())


def check_channel(name: str) -> None:
    """Raise UsageError for a name that is no channel's."""
    if parse_channel(name) is None:
        raise UsageError(
            f"{name!r} is not a channel: use {LIQUIDATIONS} or futures_trades@EXCHANGE_SYMBOL@MINVOL, "
            "such as futures_trades@Binance_BTCUSDT@10000"
        )


def _alternatives(written: str, pattern: str, lists: Lists) -> Sequence[str]:
    names = [name.strip() for name in written.split(",")]
    if not all(names):
        raise UsageError(f"{pattern!r} has nothing between two commas or braces: write {{a,b}} or {{list}}")
    if len(names) > 1:
        return names
    if names[0] not in lists:
        known = f"there is {', '.join(lists)}" if lists else "lists are made in the channels file, under 'lists:'"
        raise UsageError(f"{pattern!r} asks for a list {names[0]!r} that is not there: {known}")
    return lists[names[0]]
