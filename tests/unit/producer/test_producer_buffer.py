"""The buffer between two threads."""

import sys
from collections.abc import Iterator
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.buffer import Buffer
from producer.entries import ENTRY_OVERHEAD_BYTES, FrameEntry
from producer.protocol import RawKind

SLOT = ENTRY_OVERHEAD_BYTES + 4


def frame(number: int = 0, size: int = 4) -> FrameEntry:
    return FrameEntry(RawKind.TRADES, b"c", b"x" * size, 0, b"u", number)


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "free"]), st.integers(0, 2_000)), max_size=80))
def test_what_is_held_never_exceeds_the_bound_and_comes_out_in_order(steps: list[tuple[str, int]]):
    buffer = Buffer(5_000)
    put: list[int] = []
    taken: list[int] = []
    held: list[FrameEntry] = []
    for step, size in steps:
        if step == "put":
            if buffer.put(frame(len(put), size)):
                put.append(len(put))
        elif step == "take":
            entries = buffer.take(size % 5)
            held += entries
            taken += [entry.sequence for entry in entries]
        elif held:
            buffer.free(held.pop(0).cost_bytes)
        assert 0 <= buffer.used_bytes <= 5_000
    assert taken + [entry.sequence for entry in buffer.take(1_000)] == put


def test_what_was_taken_counts_until_it_is_freed():
    buffer = Buffer(SLOT)
    assert buffer.put(frame())
    (entry,) = buffer.take(9)
    assert not buffer.put(frame())
    buffer.free(entry.cost_bytes)
    assert buffer.put(frame())


def test_room_is_back_when_half_is_free():
    buffer = Buffer(4 * SLOT)
    while buffer.put(frame()):
        pass
    assert not buffer.roomy
    buffer.free(SLOT)
    assert not buffer.roomy
    buffer.free(SLOT)
    assert buffer.roomy


def test_a_taker_that_waits_is_woken_once():
    woken: list[int] = []
    buffer = Buffer(100_000, lambda: woken.append(1))
    assert buffer.await_entry()
    buffer.put(frame())
    buffer.put(frame())
    assert woken == [1]
    assert not buffer.await_entry()


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """Threads that take turns every 10 µs: every 5 ms, as usual, each would mostly spin until its turn is over."""
    usual_seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual_seconds)


@pytest.mark.usefixtures("hurried_threads")
def test_two_threads_lose_nothing():
    buffer = Buffer(50 * SLOT)
    count = 20_000

    def put_all() -> None:
        for number in range(count):
            while not buffer.put(frame(number)):
                pass

    thread = Thread(target=put_all)
    thread.start()
    seen: list[int] = []
    while len(seen) < count:
        for entry in buffer.take(7):
            seen.append(entry.sequence)
            buffer.free(entry.cost_bytes)
    thread.join()
    assert seen == list(range(count))
    assert buffer.used_bytes == 0
