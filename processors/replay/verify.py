"""`--verify`: whether the live worker's finals are, byte for byte, what a replay of their raw records gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from broker.admin import connected, partition_counts
from processors.raw_topics import raw_consumer
from processors.replay.kinds import FinalKind, final_kinds
from processors.replay.ordered import Replayed
from processors.replay.plan import Plan
from processors.replay.settings import ReplaySettings
from schemas.channels import LIQUIDATIONS
from schemas.codec import decode_plain
from schemas.errors import OperationError

Identity = tuple[str, bytes, int]  # topic, key, window start in UTC ms

NOT_PUBLISHED = "not published"
NOT_REPLAYED = "not replayed"
TWICE = "published twice"


@dataclass(frozen=True, slots=True)
class Difference:
    """One final that the two do not agree on."""

    identity: Identity
    what: str  # one of those above, or the fields that differ


@dataclass
class Verdict:
    """How a comparison came out."""

    equal: int = 0
    at_edges: int = 0  # of windows that the range cuts: not compared
    differences: list[Difference] = field(default_factory=list)


class Verifier:
    """Collects what is replayed, then reads what was published."""

    def __init__(self, settings: ReplaySettings, plan: Plan) -> None:
        self._settings, self._kinds = settings, final_kinds(settings.pipeline)
        self._cut = any(stretch.cut for stretch in plan)
        self._whole: dict[Identity, bytes] = {}
        self._partial: set[Identity] = set()

    def write(self, results: Iterable[Replayed]) -> None:
        """Take the finals among results."""
        for one in results:
            kind = self._kinds.get(one.result.topic)
            if kind is None:
                continue
            identity = _identity(one.result.topic, one.result.key, one.result.value, kind)
            if one.partial:
                self._partial.add(identity)
            else:
                self._whole[identity] = one.result.value or b""

    async def verdict(self) -> Verdict:
        """Read the published finals of the range, and compare."""
        try:
            published = await self._published()
        except KafkaError as error:
            raise OperationError(f"the published finals could not be read: {error!r}") from error
        verdict, left = Verdict(), dict(self._whole)
        seen: set[Identity] = set()
        edge_ms = self._edge_ms()
        for topic, record in published:
            identity, values = _read(topic, record, self._kinds[topic])
            if not self._asked_for(identity, values, record.timestamp):
                continue
            if identity in self._partial or identity[2] < edge_ms:
                verdict.at_edges += 1
            elif identity in seen:
                verdict.differences.append(Difference(identity, TWICE))
            elif identity not in left:
                verdict.differences.append(Difference(identity, NOT_REPLAYED))
            elif left[identity] == record.value:
                verdict.equal += 1
            else:
                ours = decode_plain(self._kinds[topic].aggregate.schema, left[identity])
                verdict.differences.append(Difference(identity, _differing(values, ours)))
            seen.add(identity)
            left.pop(identity, None)
        verdict.differences += [Difference(identity, NOT_PUBLISHED) for identity in left]
        verdict.differences.sort(key=lambda d: (d.identity[2], d.identity))
        return verdict

    def _edge_ms(self) -> int:
        """Return the start of the first window that can be compared."""
        from_ms = self._settings.range.from_ms
        if from_ms is not None:
            return from_ms
        return min((start_ms for _, _, start_ms in self._whole), default=0) if self._cut else -(2**62)

    def _asked_for(self, identity: Identity, values: Mapping[str, Any], timestamp_ms: int) -> bool:
        settings, span = self._settings, self._settings.range
        if span.clock == "receive":
            in_range = span.holds(timestamp_ms)
        else:
            in_range = span.overlaps(values["window_start"], values["window_end"])
        channel = LIQUIDATIONS if "asset" in values else identity[1].decode(errors="replace")
        asset = values.get("asset", values.get("base_asset"))
        return (
            in_range
            and (not settings.channels or channel in settings.channels)
            and (not settings.assets or asset in settings.assets)
        )

    async def _published(self) -> list[tuple[str, Any]]:
        """Return the finals that stand in the live topics, from the range's first on."""
        bootstrap, from_ms = self._settings.bootstrap, self._settings.range.from_ms
        async with connected(bootstrap) as client:
            counts = await partition_counts(client, self._kinds)
        if not counts:
            raise OperationError(f"nothing was published under {self._settings.pipeline.topics.prefix}: no worker ran")
        tps = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        found: list[tuple[str, Any]] = []
        async with raw_consumer(bootstrap) as consumer:
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            if from_ms is not None and self._settings.range.clock == "receive":
                at = await consumer.offsets_for_times(dict.fromkeys(tps, from_ms))
                begins = {tp: at[tp].offset if at.get(tp) else ends[tp] for tp in tps}
            for tp in tps:
                consumer.seek(tp, begins[tp])
            while behind := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=200)).items():
                    found += [(tp.topic, record) for record in records if record.offset < ends[tp]]
        return found


def _identity(topic: str, key: bytes | None, value: bytes | None, kind: FinalKind) -> Identity:
    return topic, key or b"", decode_plain(kind.aggregate.schema, value or b"")["window_start"]


def _read(topic: str, record: Any, kind: FinalKind) -> tuple[Identity, dict[str, Any]]:
    """Return what a published final says. Raises OperationError where it says nothing."""
    try:
        values = decode_plain(kind.aggregate.schema, record.value or b"")
    except (ValueError, EOFError, IndexError) as error:
        raise OperationError(f"{topic}/{record.partition} at {record.offset} is no final: {error}") from error
    return (topic, record.key or b"", values["window_start"]), values


def _differing(published: Mapping[str, Any], replayed: Mapping[str, Any]) -> str:
    fields = [
        f"{name} {published[name]} was published, {replayed[name]} replayed"
        for name in replayed
        if published[name] != replayed[name]
    ]
    return "; ".join(fields) or "the bytes differ, their values do not"
