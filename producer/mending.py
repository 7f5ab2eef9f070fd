"""After entries were lost in the middle of a connection, its stretch begins anew at its next mark. Pure.

written       up   f1   f2   ░░ lost ░░   f7   alive        alive
published     up   f1   f2                f7   up           alive
                                               └ an `alive` here would claim the lost time too
"""

import msgspec

from producer.entries import MarkEntry
from schemas.topics import HEADER_WHY


class Mender:
    """Rewrites the first mark of each connection as the `up` of a new stretch."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def mended(self, mark: MarkEntry) -> list[MarkEntry]:
        """Return what is to be published in a mark's stead."""
        fields = msgspec.json.decode(mark.payload)
        if fields["connection"] in self._begun:
            return [mark]
        self._begun.add(fields["connection"])
        kind = fields["kind"]
        if kind == "up":
            return [mark]
        fields |= {"kind": "up", "heard_at_ms": fields["at_ms"]}
        headers = tuple(header for header in mark.headers if header[0] != HEADER_WHY)
        up = msgspec.structs.replace(mark, payload=msgspec.json.encode(fields), headers=headers)
        return [up] if kind == "alive" else [up, mark]
