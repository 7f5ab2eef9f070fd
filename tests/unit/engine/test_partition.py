"""A partition with a writer that is slow on purpose: what is handed over together, and when."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from processors.engine import partition as module
from processors.engine.batches import Batch
from processors.engine.partition import OwnedPartition
from processors.engine.positions import encode_position, position_key
from processors.engine.step import Changes
from processors.engine.transaction_requests import NOBODY

SOURCE = TP("raw", 3)


class Adder:
    """A step that keeps one row: the sum of the offsets it has seen."""

    def __init__(self):
        self.sum = 0

    def restore(self, rows):
        self.sum = int(rows.get(b"sum", b"0"))

    def process(self, records):
        self.sum += sum(r.offset for r in records)

    def take(self):
        return Changes({b"sum": str(self.sum).encode()}, [])


class SlowWriter:
    """Commits when told to."""

    def __init__(self):
        self.committed, self.gate, self.closed = [], asyncio.Event(), False

    async def hand_over(self, changes, next_offset, identity):
        await self.gate.wait()
        self.committed.append((changes, next_offset))

    async def close(self):
        self.closed = True


@pytest.fixture
def owned():
    seen = []
    partition = OwnedPartition(
        SOURCE, Adder(), SlowWriter(), lambda: NOBODY, lambda tp: partition.position, lambda tp, c: seen.append(c)
    )
    partition.seen = seen
    return partition


def batch(*offsets, base=None):
    return Batch([SimpleNamespace(offset=o) for o in offsets], offsets[0] if base is None else base)


async def test_batches_that_come_while_a_transaction_is_under_way_are_committed_together(owned):
    await owned.apply(batch(0, 1))
    await asyncio.sleep(0)  # the first transaction has begun
    await owned.apply(batch(2, 3))
    await owned.apply(batch(4))
    assert (owned.position, owned.writer.committed) == (5, [])
    owned.writer.gate.set()
    await owned.settled()
    assert [(c.rows[b"sum"], offset) for c, offset in owned.writer.committed] == [(b"10", 5)] or [
        offset for _, offset in owned.writer.committed
    ] == [2, 5]
    assert owned.writer.committed[-1][0].rows == {b"sum": b"10", position_key(3): encode_position(5)}


async def test_the_position_travels_with_the_rows(owned):
    owned.writer.gate.set()
    await owned.apply(batch(0, 1, 2))
    await owned.settled()
    ((changes, offset),) = owned.writer.committed
    assert offset == 3
    assert changes.rows[position_key(3)] == encode_position(3)


async def test_rows_are_shown_only_once_they_are_committed(owned):
    await owned.apply(batch(0))
    await asyncio.sleep(0.01)
    assert owned.seen == []
    owned.writer.gate.set()
    await owned.settled()
    assert len(owned.seen) == 1


async def test_a_batch_that_comes_twice_counts_once(owned):
    owned.writer.gate.set()
    await owned.apply(batch(0, 1))
    await owned.apply(batch(0, 1))
    await owned.apply(batch(1, 2))
    await owned.settled()
    assert (owned.step.sum, owned.position) == (3, 3)


async def test_a_stream_waits_while_too_much_is_pending(owned, monkeypatch):
    monkeypatch.setattr(module, "PENDING_RECORDS_MAX", 2)
    await owned.apply(batch(0))
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(owned.apply(batch(1, 2, 3)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    owned.writer.gate.set()
    await waiting
    assert owned.writer.committed[-1][1] == 4


async def test_closing_commits_what_is_pending(owned):
    await owned.apply(batch(0))
    owned.writer.gate.set()
    await owned.close()
    assert (owned.writer.committed[-1][1], owned.writer.closed) == (1, True)


async def test_state_and_position_are_taken_up_from_the_rows(owned):
    owned.restore({b"sum": b"6", position_key(3): encode_position(4)}, log_start=0)
    assert (owned.step.sum, owned.position) == (6, 4)


async def test_without_rows_a_partition_begins_where_its_log_does(owned):
    owned.restore({}, log_start=17)
    assert owned.position == 17


async def test_a_hole_that_nobody_explained_ends_the_worker(owned, monkeypatch):
    def crash(what, error=None):
        raise SystemExit(what)

    monkeypatch.setattr(module, "crash", crash)
    with pytest.raises(SystemExit, match="where 0 was expected"):
        await owned.apply(batch(5))


async def test_a_transaction_that_fails_ends_the_worker(owned, monkeypatch):
    died = []
    monkeypatch.setattr(module, "crash", lambda what, error=None: died.append(error))

    async def fail(changes, next_offset, identity):
        raise OSError("gone")

    owned.writer.hand_over = fail
    await owned.apply(batch(0))
    await owned.settled()
    assert [str(error) for error in died] == ["gone"]


async def test_a_partition_that_is_far_behind_pauses_between_transactions_until_someone_waits(owned, monkeypatch):
    monkeypatch.setattr(module, "BEHIND_PAUSE_SECONDS", 60.0)
    owned._log_end = lambda tp: 10_000
    owned.writer.gate.set()
    await owned.apply(batch(0))
    await asyncio.sleep(0.05)
    await owned.apply(batch(1))
    await asyncio.sleep(0.05)
    assert [offset for _, offset in owned.writer.committed] == [1]
    async with asyncio.timeout(5):
        await owned.settled()
    assert [offset for _, offset in owned.writer.committed] == [1, 2]


async def test_a_partition_that_has_caught_up_pauses_but_a_moment(owned):
    owned.writer.gate.set()
    for offset in range(2):
        await owned.apply(batch(offset))
    await asyncio.sleep(10 * module.PAUSE_SECONDS)
    assert owned.writer.committed[-1][1] == 2
    assert owned.lag == 0
