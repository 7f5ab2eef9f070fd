"""JSON from outside: how deep it may be nested, and what reading it may raise. Pure."""

import re

import msgspec

#: Deepest nesting that is looked into. A bound of our own: the decoder's is the interpreter's stack, so that the same
#: bytes could be a frame to one caller and malformed to another.
NESTING_MAX = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)

#: What decoding bytes from outside may raise: not JSON or not of the schema, not UTF-8, nested without end.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def nested_too_deep(text: bytes) -> bool:
    """Tell whether JSON is nested deeper than NESTING_MAX; never raises, whatever the bytes."""
    if text.count(b"[") + text.count(b"{") <= NESTING_MAX:
        return False
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        bracket = token[0]
        if bracket in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in (b"]", b"}"):
            depth -= 1
    return deepest > NESTING_MAX
