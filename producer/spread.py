"""Which connection has which channels. Pure."""

from collections.abc import Sequence

from schemas.channels import canonical_name


def spread(wanted: Sequence[str], held: Sequence[Sequence[str]], per_connection: int) -> list[tuple[str, ...]]:
    """Return what each connection has from now on: those that are, in their places, then new ones.

    A channel never moves, as it would be missed or doubled on its way: what a connection holds and is still wanted
    stays there, under the name it was asked for by. New channels fill the room that is left, on a connection that keeps
    nothing only if there is no other, then new connections.

    >>> spread(["a", "c", "d", "e"], [("a", "b"), ("b",)], per_connection=2)
    [('a', 'c'), ('d', 'e')]
    """
    names = {canonical_name(name): name for name in wanted}
    kept = [[name for name in channels if names.pop(canonical_name(name), None)] for channels in held]
    new = list(names.values())
    for channels in sorted(kept, key=lambda channels: not channels):
        room = max(0, per_connection - len(channels))
        channels += new[:room]
        del new[:room]
    kept += [new[at : at + per_connection] for at in range(0, len(new), per_connection)]
    return [tuple(channels) for channels in kept]
