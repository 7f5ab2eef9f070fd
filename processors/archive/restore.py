"""Files to raw topics: keys, timestamps, headers and partitions as they were.

What stands in a target partition is always a beginning of what was exported, offsets counted from 0: an idempotent
producer appends in order, and nothing else may be in the topic. So an import that was cut short goes on at the log's
end, after a look whether the last record there is the one that should be.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from broker.admin import connected, ensure_topics
from processors.archive.files import Whole, check_file, read_whole
from processors.archive.manifest import ArchivedFile, Manifest, load_manifest
from schemas.errors import OperationError
from schemas.topics import Topics, TopicSpec

#: For good: a broker deletes by the records' own timestamps, and what is imported is old.
TOPIC_CONFIGS = (
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.before.max.ms", str(2**63 - 1)),
    ("message.timestamp.after.max.ms", str(2**63 - 1)),
    ("max.message.bytes", str(4 << 20)),
)
BATCH_BYTES = 512 * 1024
REQUEST_BYTES_MAX = 4 << 20

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What an import was asked for."""

    bootstrap: str
    topics: Topics
    folder: Path


async def restore(settings: ImportSettings, told: Told = lambda _: None) -> int:
    """Append what the target topics do not hold yet, and return how many records that was."""
    manifest = load_manifest(settings.folder)
    for file in manifest.files:
        check_file(settings.folder / file.path, file.sha256)
    targets = _targets(manifest, settings.topics)
    await _make_topics(settings.bootstrap, manifest, targets)
    written = 0
    try:
        async with (
            AIOKafkaConsumer(
                bootstrap_servers=settings.bootstrap, enable_auto_commit=False, auto_offset_reset="none"
            ) as reader,
            AIOKafkaProducer(
                bootstrap_servers=settings.bootstrap,
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES,
                max_request_size=REQUEST_BYTES_MAX,
            ) as producer,
        ):
            for topic, count in sorted(manifest.topics.items()):
                for partition in range(count):
                    target = TopicPartition(targets[topic], partition)
                    files = manifest.of(topic, partition)
                    done = await _present(reader, target, settings.folder, files)
                    written += await _append(producer, target, _after(settings.folder, files, done), told)
    except KafkaError as error:
        raise OperationError(f"the import was broken off ({error!r}): run it again, it goes on where it was") from error
    return written


def _targets(manifest: Manifest, topics: Topics) -> Mapping[str, str]:
    """Return where each exported topic goes: the same name under the prefix that was asked for."""
    by_suffix = {name.removeprefix(topics.prefix): name for name in topics.raw}
    found = {topic: by_suffix[suffix] for topic in manifest.topics for suffix in by_suffix if topic.endswith(suffix)}
    unknown = manifest.topics.keys() - found.keys()
    if unknown:
        raise OperationError(f"{min(unknown)} is no raw topic: the export was made by something else")
    return found


async def _make_topics(bootstrap: str, manifest: Manifest, targets: Mapping[str, str]) -> None:
    async with connected(bootstrap) as client:
        specs = [TopicSpec(targets[t], count, TOPIC_CONFIGS) for t, count in manifest.topics.items()]
        stands = (await ensure_topics(client, specs)).partitions
    for topic, count in manifest.topics.items():
        if stands[targets[topic]] != count:
            raise OperationError(
                f"{targets[topic]} has {stands[targets[topic]]} partitions and the export {count}: "
                "import under another --topic-prefix"
            )


async def _present(
    reader: AIOKafkaConsumer, target: TopicPartition, folder: Path, files: Sequence[ArchivedFile]
) -> int:
    """Return how many records of the export the target holds; raises OperationError where it holds anything else."""
    reader.assign([target])
    begin, end = await _settled(reader, target)
    if end == 0:
        return 0
    rows = sum(file.rows for file in files)
    if begin == 0 and end <= rows:
        reader.seek(target, end - 1)
        async with asyncio.timeout(30):
            there = await reader.getone(target)
        should_be = next(_after(folder, files, end - 1))[0]
        if (there.offset, there.timestamp, there.key, there.value, tuple(there.headers)) == (
            end - 1, should_be.timestamp, should_be.key, should_be.value, should_be.headers,
        ):  # fmt: skip
            return end
    raise OperationError(
        f"{target.topic}/{target.partition} holds other records than the export: import under another --topic-prefix"
    )


async def _settled(reader: AIOKafkaConsumer, target: TopicPartition) -> tuple[int, int]:
    """Return the log's bounds once its end stands still: an import that was killed may have a request on its way."""
    while True:
        begin = (await reader.beginning_offsets([target]))[target]
        end = (await reader.end_offsets([target]))[target]
        if end == 0:
            return begin, end
        await asyncio.sleep(0.2)
        if end == (await reader.end_offsets([target]))[target]:
            return int(begin), int(end)


def _after(folder: Path, files: Sequence[ArchivedFile], done: int) -> Iterator[list[Whole]]:
    """Yield the records of a partition without the first `done`."""
    for file in files:
        if done >= file.rows:
            done -= file.rows
            continue
        for records in read_whole(folder / file.path):
            if done < len(records):
                yield records[done:]
            done = max(0, done - len(records))


async def _append(
    producer: AIOKafkaProducer, target: TopicPartition, batches: Iterator[list[Whole]], told: Told
) -> int:
    """Append records, one batch on its way at a time, so that what arrived is always a beginning of them."""
    written = 0
    for records in batches:
        builder, waiting = producer.create_batch(), 0
        for record in records:
            fields = {"timestamp": record.timestamp, "key": record.key, "value": record.value}
            headers = list(record.headers)
            if builder.append(**fields, headers=headers) is None:
                await _send(producer, builder, target)
                told(waiting)
                builder, waiting = producer.create_batch(), 0
                if builder.append(**fields, headers=headers) is None:
                    raise OperationError(f"a record of {target.topic} is too large for a batch")
            waiting += 1
        await _send(producer, builder, target)
        told(waiting)
        written += len(records)
    return written


async def _send(producer: AIOKafkaProducer, builder: object, target: TopicPartition) -> None:
    sent = await producer.send_batch(builder, target.topic, partition=target.partition)
    await sent
