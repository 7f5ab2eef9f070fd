"""Which connection has which channels, and that none moves."""

from hypothesis import given
from hypothesis import strategies as st

from producer.spread import spread

CHANNELS = st.lists(st.integers(0, 30).map(str), unique=True)


@given(st.lists(CHANNELS, max_size=8), st.integers(1, 7))
def test_every_channel_is_on_one_connection_and_stays_there(edits: list[list[str]], per_connection: int):
    held: list[tuple[str, ...]] = []
    for wanted in edits:
        places = {name: at for at, channels in enumerate(held) for name in channels}
        now = spread(wanted, held, per_connection)
        assert sorted(name for channels in now for name in channels) == sorted(wanted)
        assert all(len(channels) <= per_connection for channels in now)
        assert all(now[places[name]].count(name) == 1 for name in wanted if name in places)
        assert all(now[len(held) :])  # no connection is opened for nothing
        held = [channels for channels in now if channels]


def test_a_new_spelling_moves_nothing_and_keeps_the_old_one():
    assert spread(["liquidation_orders", "x"], [("liquidationOrders",)], 1) == [("liquidationOrders",), ("x",)]
