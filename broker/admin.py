"""Reach a broker and make topics as `schemas.topics` describes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.errors import OperationError
from schemas.topics import TopicSpec

REACH_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 15.0


class Standing(NamedTuple):
    """Topics as they stand: the names of those that were made just now, and how many partitions each has."""

    made: tuple[str, ...]
    partitions: Mapping[str, int]


@asynccontextmanager
async def connected(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield an admin client; raises OperationError if no broker answers within REACH_SECONDS_MAX."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await _until_listening(bootstrap)  # by hand: the client logs every refused attempt as an error
                await client.start()
        except (TimeoutError, KafkaError) as error:
            raise OperationError(
                f"no Kafka broker answers at {bootstrap}: start one with 'coinglass-streams kafka', "
                "or name another with --broker"
            ) from error
        yield client
    finally:
        await client.close()


async def _until_listening(bootstrap: str) -> None:
    """Return once any of the addresses takes a connection."""
    while True:
        for address in bootstrap.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError:
                continue
            writer.close()
            return
        await asyncio.sleep(0.2)


async def cluster_id(client: AIOKafkaAdminClient) -> str:
    """Return what the cluster calls itself: it stays, whatever addresses its brokers have."""
    return str((await _patiently(client.describe_cluster))["cluster_id"])


async def partition_counts(client: AIOKafkaAdminClient, names: Iterable[str]) -> Mapping[str, int]:
    """Return how many partitions each topic has; topics that do not exist are left out."""
    described = await _patiently(lambda: client.describe_topics(list(names)))
    return {topic["topic"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0}


async def ensure_topics(client: AIOKafkaAdminClient, specs: Iterable[TopicSpec], replication: int = -1) -> Standing:
    """Make the topics that are missing and return how all of them stand; what stands already is left as it is.

    `replication` -1 asks for the broker's own default. Raises OperationError where the broker refuses. Of several
    brokers another may not have heard of a new topic yet: go by what is returned, and do not ask again.
    """
    wanted = {spec.name: spec for spec in specs}
    present = await partition_counts(client, wanted)
    missing = [spec for name, spec in wanted.items() if name not in present]
    if not missing:
        return Standing((), present)
    # No assignments, as an empty mapping: NewTopic takes a replication of -1 in that form alone.
    assignments: dict[int, list[int]] | None = {} if replication == -1 else None
    topics = [NewTopic(s.name, s.partitions, replication, assignments, dict(s.configs)) for s in missing]
    response = await _patiently(lambda: client.create_topics(topics))
    for name, code, *detail in response.topic_errors:
        refusal = for_code(code)
        if code and refusal is not TopicAlreadyExistsError:  # another worker may have been quicker
            raise OperationError(f"the broker did not make {name}: {(detail and detail[0]) or refusal.__name__}")
    return Standing(tuple(spec.name for spec in missing), await _until_known(client, wanted))


async def _until_known(client: AIOKafkaAdminClient, names: Iterable[str]) -> Mapping[str, int]:
    """Return all topics' partitions once a broker answers for them: they are made before its metadata has them."""
    wanted = set(names)
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while True:
                counts = await partition_counts(client, wanted)
                missing = wanted - counts.keys()
                if not missing:
                    return counts
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise OperationError(f"the broker made {min(missing)} and does not know it: look at its log") from error


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until answered: of several brokers one may be away, or no longer the controller, while the others live."""
    deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise OperationError(f"the broker does not answer for its topics: {error!r}") from error
        await asyncio.sleep(0.2)
