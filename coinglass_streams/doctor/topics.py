"""The topics as they stand, against how `schemas.topics` says they should. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coinglass_streams.doctor.findings import Finding, Level, so_long, so_many
from schemas.topics import TopicSpec

#: Kafka's own default: a frame of the largest size that the producer keeps, and its headers, need as much.
MESSAGE_BYTES_MIN = 1_048_588
#: What every topic of ours needs, beside its spec: Kafka's own defaults, as long as nobody changed them.
_ALWAYS = {
    "cleanup.policy": "delete",
    "max.message.bytes": str(MESSAGE_BYTES_MIN),
    "message.timestamp.type": "CreateTime",
    "retention.bytes": "-1",
}

NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class PartitionSeen:
    """A partition's leader, -1 for none, and how many copies there are, and of those how many are in step."""

    leader: int
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """A topic's partitions and all its settings."""

    partitions: tuple[PartitionSeen, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not as it should be, what comes of it, and what would mend it."""

    level: Level
    effect: str
    setting: str
    value: str
    wanted: str


def merged(specs: Iterable[TopicSpec]) -> tuple[TopicSpec, ...]:
    """Return each topic once: producer and worker both name the dead letters."""
    found: dict[str, TopicSpec] = {}
    for spec in specs:
        configs = dict(found[spec.name].configs) if spec.name in found else {}
        found[spec.name] = TopicSpec(spec.name, spec.partitions, tuple((configs | dict(spec.configs)).items()))
    return tuple(found.values())


def judge_topics(
    bootstrap: str, specs: Sequence[TopicSpec], seen: Mapping[str, TopicSeen], nodes: int
) -> list[Finding]:
    """Say which topics are missing, cannot be written, or have settings that lose something."""
    findings = []
    missing = [spec.name for spec in specs if spec.name not in seen]
    if missing:
        says = f"not there yet: {_named(missing)}"
        remedy = "producer and worker make theirs when they start; 'coinglass-streams topics' makes all"
        findings.append(Finding("topics", Level.WARN, says, remedy))
    for spec in specs:
        if spec.name in seen:
            findings += _judge_copies(spec.name, seen[spec.name], nodes)
            findings += _judge_settings(bootstrap, spec, seen[spec.name])
    if not findings:
        partitions = sum(len(topic.partitions) for topic in seen.values())
        copies = min(p.replicas for topic in seen.values() for p in topic.partitions)
        says = f"all {len(seen)} as they should be: {partitions} partitions, {so_many(copies, 'copy', 'copies')}"
        findings.append(Finding("topics", Level.OK, says))
    return findings


def _judge_copies(name: str, seen: TopicSeen, nodes: int) -> list[Finding]:
    leaderless = sum(p.leader < 0 for p in seen.partitions)
    least = int(seen.settings.get("min.insync.replicas", "1"))
    unwritable = sum(p.in_sync < least for p in seen.partitions)
    if leaderless or unwritable:
        says = (
            f"{name}: {so_many(max(leaderless, unwritable), 'partition')} of {len(seen.partitions)} cannot be written"
        )
        return [Finding("topics", Level.FAIL, says, "see that all brokers run")]
    behind = sum(p.in_sync < p.replicas for p in seen.partitions)
    if behind:
        says = f"{name}: {so_many(behind, 'partition')} of {len(seen.partitions)} with a copy that is not in step"
        return [Finding("topics", Level.WARN, says, "see that all brokers run")]
    if nodes > 1 and any(p.replicas == 1 for p in seen.partitions):
        says = f"{name}: one copy only, on a cluster of {nodes} nodes"
        return [Finding("topics", Level.WARN, says, "give it more with kafka-reassign-partitions.sh")]
    return []


def _judge_settings(bootstrap: str, spec: TopicSpec, seen: TopicSeen) -> list[Finding]:
    """Return one finding for all settings of a topic, as one command mends them all."""
    found = differences(spec, seen.settings)
    if not found:
        return []
    level = Level.FAIL if any(one.level is Level.FAIL for one in found) else Level.WARN
    says = ", ".join(f"{one.setting} is {one.value} ({one.effect})" for one in found)
    mended = ",".join(f"{one.setting}={one.wanted}" for one in found)
    remedy = (
        f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {spec.name} "
        f"--add-config {mended}"
    )
    return [Finding("topics", level, f"{spec.name}: {says}", remedy)]


def differences(spec: TopicSpec, settings: Mapping[str, str]) -> list[Difference]:
    """Return the settings that lose something; one that keeps more than it must is nobody's trouble.

    >>> spec = TopicSpec("t", 4, (("retention.ms", "2592000000"),))
    >>> [d.effect for d in differences(spec, {"retention.ms": "604800000"})]
    ['kept 7 days, not 30 days']
    """
    wanted = _ALWAYS | dict(spec.configs)
    return [
        Difference(*judged, name, settings[name], wanted[name])
        for name in wanted
        if name in settings and (judged := _loss(name, settings[name], wanted[name])) is not None
    ]


def _loss(name: str, value: str, wanted: str) -> tuple[Level, str] | None:
    """Return how bad a setting is, and what is lost by it; None for nothing."""
    match name:
        case "cleanup.policy" if "compact" in value:
            return Level.FAIL, "compaction deletes records"
        case "message.timestamp.type" if value != wanted:
            return Level.FAIL, "receive times are lost"
        case "max.message.bytes" if int(value) < int(wanted):
            return Level.WARN, "the largest do not fit"
        case "retention.ms" if _kept_ms(value) < _kept_ms(wanted):
            return Level.WARN, f"kept {so_long(int(value))}, not {_at_least(wanted)}"
        case "retention.bytes" if int(value) >= 0:
            return Level.WARN, "the oldest go when it is full"
    return None


def _kept_ms(value: str) -> float:
    return float("inf") if int(value) < 0 else int(value)


def _at_least(value: str) -> str:
    return "for good" if int(value) < 0 else so_long(int(value))


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
