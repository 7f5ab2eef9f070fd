"""What was seen of Kafka, judged: cluster, topics, group."""

import pytest

from coinglass_streams.doctor.cluster import ClusterSeen, Node, judge_cluster, release
from coinglass_streams.doctor.findings import Level
from coinglass_streams.doctor.group import LAG_MAX, GroupSeen, Place, judge_group
from coinglass_streams.doctor.topics import PartitionSeen, TopicSeen, judge_topics, merged
from schemas.durations import parse_duration
from schemas.topics import Topics

BOOTSTRAP = "127.0.0.1:9092"
NEW = {"metadata.version": 30, "transaction.version": 2}
NODES = (Node(1, "10.0.0.1", 9092), Node(2, "kafka", 19092))
SPECS = merged((*Topics().raw_specs(), *Topics().result_specs((parse_duration("1m"),))))
RAW = "coinglass.raw.trades"
ONE_COPY = PartitionSeen(leader=1, replicas=1, in_sync=1)


def test_a_cluster_that_we_can_work_with_is_named():
    (finding,) = judge_cluster(BOOTSTRAP, ClusterSeen(NODES, (), NEW))
    assert (finding.level, finding.says) == (Level.OK, "Kafka 4.3 at 127.0.0.1:9092, 2 nodes")


@pytest.mark.parametrize(
    ("level", "name"), [(0, "a Kafka older than 3.3"), (21, "Kafka 3.9"), (25, "Kafka 4.0"), (29, "Kafka 4.2")]
)
def test_a_release_is_known_by_its_metadata(level, name):
    assert release({"metadata.version": level}) == name


def test_a_cluster_without_version_2_of_transactions_fails_with_the_command_that_mends_it():
    (finding,) = judge_cluster(BOOTSTRAP, ClusterSeen(NODES, (), NEW | {"transaction.version": 1}))
    assert finding.level is Level.FAIL
    assert "transaction.version is 1" in finding.says
    assert "kafka-features.sh" in finding.remedy


def test_an_advertised_address_that_cannot_be_reached_fails():
    (one,) = judge_cluster(BOOTSTRAP, ClusterSeen(NODES, NODES[1:], NEW))
    both = judge_cluster(BOOTSTRAP, ClusterSeen(NODES, NODES, {}))
    assert one.says == "node 2 says that it is at kafka:19092, which takes no connection from here"
    assert "advertised.listeners" in one.remedy
    assert [finding.level for finding in both] == [Level.FAIL] * 2


def topic(spec, *, partitions=4, partition=ONE_COPY, **settings):
    defaults = {"cleanup.policy": "delete", "retention.bytes": "-1", "max.message.bytes": "1048588"}
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return TopicSeen((partition,) * partitions, defaults | dict(spec.configs) | given)


def all_topics(**changed):
    """Return all topics as they should be, but for the settings of one."""
    return {spec.name: topic(spec, **(changed if spec.name == RAW else {})) for spec in SPECS}


def judged(seen, nodes=1):
    return judge_topics(BOOTSTRAP, SPECS, seen, nodes)


def test_topics_as_they_should_be_are_counted():
    (finding,) = judged(all_topics())
    assert (finding.level, finding.says) == (Level.OK, "all 7 as they should be: 28 partitions, 1 copy")


def test_topics_that_are_missing_are_a_warning():
    (finding,) = judged({})
    assert finding.level is Level.WARN
    assert "and 4 more" in finding.says
    assert "coinglass-streams topics" in finding.remedy


WRONG = {
    "receive times replaced": (
        {"message_timestamp_type": "LogAppendTime"},
        Level.FAIL,
        "message.timestamp.type=CreateTime",
    ),
    "compacted": ({"cleanup_policy": "compact,delete"}, Level.FAIL, "cleanup.policy=delete"),
    "kept too short": ({"retention_ms": "604800000"}, Level.WARN, "retention.ms=2592000000"),
    "too small for a frame": ({"max_message_bytes": "1000"}, Level.WARN, "max.message.bytes=1048588"),
    "bounded by bytes": ({"retention_bytes": "1000"}, Level.WARN, "retention.bytes=-1"),
}


@pytest.mark.parametrize(("settings", "level", "mended"), WRONG.values(), ids=WRONG)
def test_a_setting_that_loses_something_is_named_with_the_command_that_mends_it(settings, level, mended):
    (finding,) = judged(all_topics(**settings))
    assert finding.level is level
    assert finding.says.startswith(f"{RAW}: ")
    assert finding.remedy == (
        f"kafka-configs.sh --bootstrap-server {BOOTSTRAP} --alter --entity-type topics --entity-name {RAW} "
        f"--add-config {mended}"
    )


def test_all_settings_of_a_topic_are_mended_by_one_command():
    (finding,) = judged(all_topics(retention_ms="1", cleanup_policy="compact"))
    assert finding.level is Level.FAIL
    assert finding.remedy.endswith("--add-config cleanup.policy=delete,retention.ms=2592000000")


@pytest.mark.parametrize("settings", [{"retention_ms": "-1"}, {"max_message_bytes": "9999999"}])
def test_a_setting_that_keeps_more_is_nobodys_trouble(settings):
    assert [finding.level for finding in judged(all_topics(**settings))] == [Level.OK]


def test_finals_are_kept_for_good():
    seen = all_topics()
    name = Topics().feed_gaps
    seen[name] = TopicSeen(seen[name].partitions, seen[name].settings | {"retention.ms": "86400000"})
    (finding,) = judged(seen)
    assert finding.says == f"{name}: retention.ms is 86400000 (kept 24 h, not for good)"


COPIES = {
    "no leader": (PartitionSeen(-1, 3, 0), {}, Level.FAIL, "cannot be written"),
    "too few copies in step": (PartitionSeen(1, 3, 1), {"min_insync_replicas": "2"}, Level.FAIL, "cannot be written"),
    "a copy behind": (PartitionSeen(1, 3, 2), {"min_insync_replicas": "2"}, Level.WARN, "not in step"),
    "one copy only": (PartitionSeen(1, 1, 1), {}, Level.WARN, "one copy only, on a cluster of 3 nodes"),
}


@pytest.mark.parametrize(("partition", "settings", "level", "says"), COPIES.values(), ids=COPIES)
def test_copies_that_are_missing_are_found(partition, settings, level, says):
    spec = next(spec for spec in SPECS if spec.name == RAW)
    three = {other.name: topic(other, partition=PartitionSeen(1, 3, 3)) for other in SPECS}
    (finding,) = judged(three | {RAW: topic(spec, partition=partition, **settings)}, nodes=3)
    assert finding.level is level
    assert says in finding.says


def test_a_group_that_keeps_up_is_counted():
    (finding,) = judge_group("app", GroupSeen(2, (Place(0, 90, 100), Place(5, None, 7))))
    assert (finding.level, finding.says) == (Level.OK, "app, 2 workers, 12 records behind on 2 partitions")


def test_a_group_without_workers_or_that_never_was_is_a_warning():
    (never,) = judge_group("app", None)
    (idle,) = judge_group("app", GroupSeen(0, (Place(0, 0, 5),)))
    assert (never.level, idle.level) == (Level.WARN, Level.WARN)
    assert "ever run" in never.says
    assert idle.says == "no worker of app is running, 5 records behind on 1 partition"


def test_a_group_far_behind_is_a_warning_and_one_that_missed_records_a_failure():
    (behind,) = judge_group("app", GroupSeen(1, (Place(0, 0, LAG_MAX + 1),)))
    (missed,) = judge_group("app", GroupSeen(1, (Place(10, 4, 12),)))
    assert behind.level is Level.WARN
    assert (missed.level, missed.says) == (Level.FAIL, "6 records were deleted before app had read them")
