"""What was seen of the cluster, judged. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from coinglass_streams.doctor.findings import Finding, Level, so_many

#: The cluster's level of `metadata.version` from which on it is this release.
_RELEASES = {
    7: "3.3",
    8: "3.4",
    9: "3.5",
    12: "3.6",
    15: "3.7",
    20: "3.8",
    21: "3.9",
    22: "4.0",
    26: "4.1",
    28: "4.2",
    30: "4.3",
}
_TRANSACTIONS_MIN = 2


@dataclass(frozen=True, slots=True)
class Node:
    """A broker, at the address that it tells its clients."""

    node_id: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """Its nodes, those of them that take no connection from here, and its finalized features."""

    nodes: tuple[Node, ...]
    unreachable: tuple[Node, ...]
    features: Mapping[str, int]


def judge_cluster(bootstrap: str, seen: ClusterSeen) -> list[Finding]:
    """Say whether we can work with it."""
    findings = []
    for node in seen.unreachable:
        says = f"node {node.node_id} says that it is at {node.host}:{node.port}, which takes no connection from here"
        remedy = "see that it runs, and set its advertised.listeners to an address that clients reach"
        findings.append(Finding("broker", Level.FAIL, says, remedy))
    if len(seen.unreachable) == len(seen.nodes):
        return findings
    what = f"{release(seen.features)} at {bootstrap}, {so_many(len(seen.nodes), 'node')}"
    transactions = seen.features.get("transaction.version", 0)
    if transactions < _TRANSACTIONS_MIN:
        says = (
            f"{what}, whose transaction.version is {transactions}: 'process' needs {_TRANSACTIONS_MIN}, of Kafka 4.0 on"
        )
        remedy = "upgrade, then 'kafka-features.sh upgrade --feature transaction.version=2'"
        findings.append(Finding("broker", Level.FAIL, says, remedy))
    elif not findings:
        findings.append(Finding("broker", Level.OK, what))
    return findings


def release(features: Mapping[str, int]) -> str:
    """Return the release that the cluster's features are of.

    >>> release({"metadata.version": 25}), release({})
    ('Kafka 4.0', 'a Kafka older than 3.3')
    """
    level = features.get("metadata.version", 0)
    known = [name for lowest, name in _RELEASES.items() if lowest <= level]
    return f"Kafka {known[-1]}" if known else "a Kafka older than 3.3"
