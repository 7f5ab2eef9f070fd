"""Kafka's requests for transactions, version 2 of the protocol (KIP-890), as aiokafka has them not. Pure.

In version 2 a broker adds partitions and groups to a transaction by itself, and raises the producer's epoch at each
transaction's end. So three requests make a transaction, and one that was delayed on its way can never touch a later
transaction: its epoch has passed.
"""

import io
from typing import Any, NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from faust.types import TP

_TEXT = CompactString("utf-8")
_TAGS: tuple[str, Any] = ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}


class InitProducerIdResponse(Response):
    """`producer_id` and `producer_epoch` are valid where `error_code` is 0."""

    API_KEY = 22
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class _InitProducerId(RequestStruct):
    API_KEY = 22
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = InitProducerIdResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class InitProducerId(Request[_InitProducerId]):
    """Take a transactional id: every earlier owner is fenced, and its open transaction aborted."""

    API_KEY = 22

    def __init__(self, transactional_id: str, timeout_ms: int) -> None:
        self._fields = (transactional_id, timeout_ms, -1, -1, _NO_TAGS)

    def build(self, request_struct_class: type[_InitProducerId]) -> _InitProducerId:
        """Return the request."""
        return request_struct_class(*self._fields)


class ProduceResponse(Response):
    """`topics` are (name, [(partition, error_code, base_offset, …)])."""

    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("base_offset", Int64),
                        ("log_append_time_ms", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("batch_index", Int32), ("message", _TEXT), _TAGS)),
                        ("error_message", _TEXT),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _Produce(RequestStruct):
    API_KEY = 0
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("records", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class Produce(Request[_Produce]):
    """Append one batch to each of some partitions, within the transaction; acknowledged by all in-sync replicas."""

    API_KEY = 0
    required_acks = -1  # as aiokafka's client asks to know

    def __init__(self, transactional_id: str, timeout_ms: int, batches: dict[TP, bytes]) -> None:
        by_topic: dict[str, list[tuple[int, bytes, dict[int, bytes]]]] = {}
        for tp, batch in batches.items():
            by_topic.setdefault(tp.topic, []).append((tp.partition, batch, _NO_TAGS))
        topics = [(topic, partitions, _NO_TAGS) for topic, partitions in by_topic.items()]
        self._fields = (transactional_id, self.required_acks, timeout_ms, topics, _NO_TAGS)

    def build(self, request_struct_class: type[_Produce]) -> _Produce:
        """Return the request."""
        return request_struct_class(*self._fields)


class TxnOffsetCommitResponse(Response):
    """`topics` are (name, [(partition, error_code, tags)])."""

    API_KEY = 28
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _TxnOffsetCommit(RequestStruct):
    API_KEY = 28
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT), _TAGS
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class GroupIdentity(NamedTuple):
    """Who we are in the consumer group; the group shuts out whoever is of an earlier generation."""

    generation: int
    member_id: str
    instance_id: str | None


#: An identity that the group does not check.
NOBODY = GroupIdentity(-1, "", None)


class TxnOffsetCommit(Request[_TxnOffsetCommit]):
    """Commit the source offset to the group, within the transaction, as the member that we are."""

    API_KEY = 28

    def __init__(
        self,
        transactional_id: str,
        producer: tuple[int, int],
        group: str,
        identity: GroupIdentity,
        source: TP,
        offset: int,
    ) -> None:
        partitions = [(source.partition, offset, -1, "", _NO_TAGS)]
        topics = [(source.topic, partitions, _NO_TAGS)]
        self._fields = (transactional_id, group, *producer, *identity, topics, _NO_TAGS)

    def build(self, request_struct_class: type[_TxnOffsetCommit]) -> _TxnOffsetCommit:
        """Return the request."""
        return request_struct_class(*self._fields)


class EndTxnResponse(Response):
    """`producer_id` and `producer_epoch` are those for the next transaction."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = InitProducerIdResponse.SCHEMA


class _EndTxn(RequestStruct):
    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        _TAGS,
    )


class CommitTransaction(Request[_EndTxn]):
    """Commit. Asked again with the same epoch it is answered again, and does nothing more."""

    API_KEY = 26

    def __init__(self, transactional_id: str, producer: tuple[int, int]) -> None:
        self._fields = (transactional_id, *producer, True, _NO_TAGS)

    def build(self, request_struct_class: type[_EndTxn]) -> _EndTxn:
        """Return the request."""
        return request_struct_class(*self._fields)


class BrokerFeaturesResponse(Response):
    """What the broker can do; the finalized features are in a tagged field."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("apis", CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )

    @property
    def finalized(self) -> dict[str, int]:
        """The cluster's finalized features, by name."""
        raw = self.tags.get(_FINALIZED_FEATURES)
        if raw is None:
            return {}
        features = CompactArray(("name", _TEXT), ("max", Int16), ("min", Int16), _TAGS).decode(io.BytesIO(raw))
        return {name: highest for name, highest, _, _ in features or []}


_FINALIZED_FEATURES = 2


class _BrokerFeatures(RequestStruct):
    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = BrokerFeaturesResponse
    SCHEMA = Schema(("software_name", _TEXT), ("software_version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: Any) -> ResponseHeader_v0:
        """Read a header without tags: this answer has such a one in all versions, so that every client can read it."""
        return ResponseHeader_v0.decode(read_buffer)


class BrokerFeatures(Request[_BrokerFeatures]):
    """Ask a broker what it can do (ApiVersions)."""

    API_KEY = 18

    def build(self, request_struct_class: type[_BrokerFeatures]) -> _BrokerFeatures:
        """Return the request."""
        return request_struct_class("coinglass-streams", "1", _NO_TAGS)
