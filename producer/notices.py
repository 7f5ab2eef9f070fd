"""What the feed says beside frames: an acknowledgement, an error, or something else. Pure.

CoinGlass does not document its answers, so they are read as feeds of this kind write them:

    {"event":"subscribe","success":true,"channels":["…"]}     granted
    {"event":"error","message":"unknown channel: …"}           refused
    {"code":"40001","msg":"your plan does not have …"}         refused
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any


class Verdict(Enum):
    """What a notice means for the subscription."""

    GRANTED = "granted"
    REFUSED = "refused"
    SAID = "said"  # neither


_KINDS = ("event", "type", "status", "method", "op", "action", "result")
_CODES = ("code", "status", "errCode", "errorCode", "retCode")
_TEXTS = ("msg", "message", "reason", "error")
_BAD_KINDS = frozenset({"error", "err", "fail", "failed", "failure", "denied", "forbidden", "refused", "rejected"})
_GRANTING_KINDS = frozenset({"subscribe", "subscribed", "sub"})
_BAD_WORDS = re.compile(
    r"\b(error|invalid|unknown|denied|forbidden|unauthori[sz]ed|refused|rejected|failed|failure|exceed(s|ed)?|too many"
    r"|no permission|not (allowed|available|found|included|permitted|supported))\b",
    re.IGNORECASE,
)
_GOOD_CODE = re.compile(r"0+|2[0-9]{2}|ok|success", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9]+")

#: How much of a notice is looked at for names, in characters.
_NAMED_CHARACTERS_MAX = 64 * 1024
_BETWEEN_NAMES = re.compile(r"""[\s"',;=<>()\[\]{}]+""")


def verdict(notice: Mapping[str, Any]) -> Verdict:
    """Say what a notice means, from its fields; a message alone, without a word on success, is read for its words.

    >>> verdict({"code": 200, "msg": "welcome"}), verdict({"success": False})
    (<Verdict.SAID: 'said'>, <Verdict.REFUSED: 'refused'>)
    """
    kinds = {value.lower() for key in _KINDS if isinstance(value := notice.get(key), str)}
    codes = [str(notice[key]) for key in _CODES if _is_code(key, notice.get(key))]
    good = notice.get("success") is True or any(_GOOD_CODE.fullmatch(code) for code in codes)
    bad = (
        notice.get("success") is False
        or notice.get("ok") is False
        or bool(notice.get("error"))
        or bool(kinds & _BAD_KINDS)
        or any(not _GOOD_CODE.fullmatch(code) for code in codes)
        or (not good and any(_BAD_WORDS.search(text) for key in _TEXTS if isinstance(text := notice.get(key), str)))
    )
    if bad:
        return Verdict.REFUSED
    return Verdict.GRANTED if good and kinds & _GRANTING_KINDS else Verdict.SAID


def _is_code(key: str, value: object) -> bool:
    """Tell whether a field holds a code; `status` may hold a word instead."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        return False
    return key != "status" or isinstance(value, int) or _NUMBER.fullmatch(value) is not None


def names_in(text: str) -> set[str]:
    """Return what in a text may be the name of a channel.

    >>> sorted(names_in('no channel: "a@10000", sorry.'))
    ['a@10000', 'channel', 'no', 'sorry']
    """
    pieces = {piece.strip(".:!?") for piece in _BETWEEN_NAMES.split(text[:_NAMED_CHARACTERS_MAX])}
    behind_colons = {piece.partition(":")[2] for piece in pieces}  # a name may hold one, or stand behind one
    return (pieces | behind_colons) - {""}
