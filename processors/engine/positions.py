"""The row that says up to which source offset a partition's rows have come. Pure.

It travels in the same transaction as the rows, so a recovered state can never disagree with the offset it goes on
from. The group's committed offset is in that transaction too: it shows the lag, and must agree.
"""

import msgspec


def position_key(partition: int) -> bytes:
    """Return the row's key."""
    return msgspec.json.encode([partition, "position"])


def encode_position(next_offset: int) -> bytes:
    """Return the row."""
    return msgspec.json.encode(next_offset)


def decode_position(row: bytes) -> int:
    """Read the row."""
    return msgspec.json.decode(row, type=int)
