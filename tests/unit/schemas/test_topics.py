import pytest

from schemas.durations import parse_duration
from schemas.errors import UsageError
from schemas.topics import Topics


def test_topics_are_named_as_the_contract_has_them():
    topics = Topics("coinglass")
    assert topics.raw == ("coinglass.raw.liquidations", "coinglass.raw.trades")
    assert topics.liquidation_volume("1m") == "coinglass.liquidation-volume.1m"
    assert topics.trade_imbalance("60s") == "coinglass.trade-imbalance.60s"
    assert (topics.late, topics.dead_letters) == ("coinglass.late", "coinglass.dead-letters")


@pytest.mark.parametrize("prefix", ["", ".", "-x", "a b", "ä", "x" * 101, "a/b"])
def test_a_prefix_that_kafka_would_refuse_is_refused(prefix):
    with pytest.raises(UsageError, match="begin a topic"):
        Topics(prefix)


def test_finals_are_kept_for_good_and_raw_frames_with_their_receive_time():
    topics = Topics()
    finals = {s.name: dict(s.configs) for s in topics.result_specs([parse_duration("1m")])}
    assert finals["coinglass.liquidation-volume.1m"]["retention.ms"] == "-1"
    raw = {s.name: s for s in topics.raw_specs(6)}
    assert raw["coinglass.raw.trades"].partitions == 6
    assert dict(raw["coinglass.raw.trades"].configs)["message.timestamp.type"] == "CreateTime"
