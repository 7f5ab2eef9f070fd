from types import SimpleNamespace

from processors.engine.batches import Batch


def batch(base, *offsets):
    return Batch([SimpleNamespace(offset=o) for o in offsets], base)


def test_a_batch_ends_after_its_last_record():
    assert batch(10, 10, 11, 12).end == 13
    assert batch(10).end == 10


def test_a_batch_may_follow_on_over_a_hole_in_the_log():
    assert (batch(10, 14, 15).base, batch(10, 14, 15).end) == (10, 16)


def test_what_was_applied_already_is_cut_off():
    cut = batch(10, 10, 11, 12).since(12)
    assert ([r.offset for r in cut], cut.base, cut.end) == ([12], 12, 13)
    assert batch(10, 10, 11).since(5).base == 10
