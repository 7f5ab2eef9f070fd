from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from processors.engine.record_batches import BATCH_BYTES_MAX, records_by_partition, transactional_batches
from processors.engine.step import Changes, Result

CHANGELOG = TP("log", 3)
TOPIC_PARTITIONS = {"out": [0, 1, 2, 3], "letters": [0, 1]}


def read(batches):
    """Return each batch as Kafka reads it: (producer id, epoch, base sequence, records)."""
    found = []
    for raw in batches:
        batch = MemoryRecords(raw).next_batch()
        assert batch.is_transactional
        assert batch.validate_crc()
        records = [(r.key, r.value, r.timestamp, list(r.headers)) for r in batch]
        found.append((batch.producer_id, batch.producer_epoch, batch.base_sequence, records))
    return found


def test_rows_go_to_the_changelog_partition_and_results_where_their_key_says():
    changes = Changes(
        {b"a": b"1", b"b": None},
        [
            Result("out", b"BTC", b"x", 7),
            Result("out", b"ETH", b"y", 8),
            Result("letters", None, b"z", 9, (("h", b"v"),)),
        ],
    )
    sorted_out = records_by_partition(changes, CHANGELOG, 5, TOPIC_PARTITIONS.__getitem__)
    assert sorted_out[CHANGELOG] == [(b"a", b"1", 5, []), (b"b", None, 5, [])]
    assert sorted_out[TP("letters", 1)] == [(None, b"z", 9, [("h", b"v")])]  # by the source's number, 3 of 2
    of_key = DefaultPartitioner()
    for key, value, timestamp in ((b"BTC", b"x", 7), (b"ETH", b"y", 8)):
        partition = of_key(key, TOPIC_PARTITIONS["out"], TOPIC_PARTITIONS["out"])
        assert (key, value, timestamp, []) in sorted_out[TP("out", partition)]


records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=300_000),
        st.integers(0, 2**41),
        st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2),
    ),
    min_size=1,
    max_size=8,
)


@given(records)
def test_batches_hold_all_records_in_order_and_their_sequences_follow_on(some):
    batches = transactional_batches(some, 17, 5)
    found = read(batches)
    assert [record for _, _, _, inside in found for record in inside] == some
    expected = 0
    for producer_id, epoch, sequence, inside in found:
        assert (producer_id, epoch, sequence) == (17, 5, expected)
        expected += len(inside)
    assert all(
        len(raw) <= BATCH_BYTES_MAX + 1_000 or len(inside) == 1
        for raw, (_, _, _, inside) in zip(batches, found, strict=True)
    )


def test_a_record_larger_than_a_batch_makes_one_of_its_own():
    large = (b"k", b"x" * (BATCH_BYTES_MAX * 2), 1, [])
    small = (b"k", b"y", 1, [])
    assert [len(inside) for *_, inside in read(transactional_batches([small, large, small], 1, 0))] == [1, 1, 1]
