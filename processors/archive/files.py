"""One file of an export: Parquet, or an Avro object container; a row a record.

topic  partition  offset  received_at (UTC ms)  key  value  headers [(name, value)]
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import OperationError
from schemas.topics import HEADER_GROUP, MARK_KEY

ROWS_AT_ONCE = 8_192

_COLUMNS = pa.schema(
    [
        pa.field("topic", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("received_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field(
            "headers",
            pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())])),
            nullable=False,
        ),
    ]
)
_AVRO = fastavro.parse_schema(
    {
        "type": "record",
        "name": "RawRecord",
        "namespace": "coinglass_streams",
        "doc": "One record of a raw topic, as it stood there.",
        "fields": [
            {"name": "topic", "type": "string"},
            {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"},
            {"name": "received_at", "type": "long", "doc": "Kafka timestamp, UTC ms"},
            {"name": "key", "type": ["null", "bytes"]},
            {"name": "value", "type": ["null", "bytes"]},
            {
                "name": "headers",
                "type": {
                    "type": "array",
                    "items": {
                        "type": "record",
                        "name": "Header",
                        "fields": [{"name": "key", "type": "string"}, {"name": "value", "type": ["null", "bytes"]}],
                    },
                },
            },
        ],
    }
)

_COLUMNS_READ = ["offset", "received_at", "key", "value", "headers"]

Headers = tuple[tuple[str, bytes | None], ...]


class Raw(NamedTuple):
    """What the pipeline needs of a record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Whole(NamedTuple):
    """A record with all that an import restores."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Writer(Protocol):
    """Writes the records of one partition into one file."""

    def write(self, records: Sequence[Whole]) -> None:
        """Add records."""

    def close(self) -> None:
        """Write what belongs at the end of the file."""


class ParquetWriter:
    """zstd, a row group for each call of `write`."""

    def __init__(self, path: Path, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        self._out = pq.ParquetWriter(path, _COLUMNS, compression="zstd", compression_level=3)

    def write(self, records: Sequence[Whole]) -> None:
        """Add records."""
        count = len(records)
        offsets, times, keys, values, headers = zip(*records, strict=True)
        columns = [
            pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([self._topic])),
            pa.array([self._partition] * count, pa.int32()),
            pa.array(offsets, pa.int64()),
            pa.array(times, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
            pa.array(keys, pa.binary()),
            pa.array(values, pa.binary()),
            pa.array([[{"key": k, "value": v} for k, v in some] for some in headers], _COLUMNS.field("headers").type),
        ]
        self._out.write_batch(pa.record_batch(columns, schema=_COLUMNS), row_group_size=count)

    def close(self) -> None:
        """Write the footer."""
        self._out.close()


class AvroWriter:
    """deflate, a block for each call of `write`."""

    def __init__(self, path: Path, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        self._file = path.open("wb")
        self._out = fastavro.write.Writer(self._file, _AVRO, codec="deflate", sync_interval=1 << 20)

    def write(self, records: Sequence[Whole]) -> None:
        """Add records."""
        for record in records:
            self._out.write(
                {
                    "topic": self._topic,
                    "partition": self._partition,
                    "offset": record.offset,
                    "received_at": record.timestamp,
                    "key": record.key,
                    "value": record.value,
                    "headers": [{"key": key, "value": value} for key, value in record.headers],
                }
            )

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            if not self._file.closed:
                self._out.flush()
        finally:
            self._file.close()


WRITERS: dict[str, Any] = {"parquet": ParquetWriter, "avro": AvroWriter}


def sha256(path: Path) -> str:
    """Return a file's checksum; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, expected: str) -> None:
    """Raise OperationError where a file is not what its export wrote."""
    try:
        found = sha256(path)
    except OSError as error:
        raise OperationError(f"{path} cannot be read ({error.strerror}): export again") from error
    if found != expected:
        raise OperationError(f"{path} is damaged, its checksum is not the manifest's: remove it, and export again")


class RawReader:
    """Reads the files of one partition, in their order.

    Making the headers of every record would cost a replay a quarter of its speed. Marks get theirs, and frames from the
    first mark of a redundant group on: nobody looks at them before.
    """

    def __init__(self) -> None:
        self._all_headers = False

    def read(self, path: Path) -> Iterator[list[Raw]]:
        """Return a file's records, some thousand at a time."""
        if path.suffix == ".avro":
            for whole in _read_avro(path):
                yield [Raw(*record) for record in whole]
            return
        for batch in _one_ahead(_parquet_batches(path, _COLUMNS_READ)):
            plain = _plain_columns(batch)
            yield list(map(Raw._make, zip(*plain, self._headers(batch.column("headers"), plain[2]), strict=True)))

    def _headers(self, column: Any, keys: list[bytes | None]) -> list[Headers]:
        marks = [index for index, key in enumerate(keys) if key == MARK_KEY]
        of_marks = _headers(column.take(pa.array(marks, pa.int32())))
        self._all_headers |= any(name == HEADER_GROUP for some in of_marks for name, _ in some)
        if self._all_headers:
            return _headers(column)
        headers: list[Headers] = [()] * len(keys)
        for index, some in zip(marks, of_marks, strict=True):
            headers[index] = some
        return headers


def read_whole(path: Path) -> Iterator[list[Whole]]:
    """Return a file's records, some thousand at a time."""
    if path.suffix == ".avro":
        yield from _read_avro(path)
        return
    for batch in _parquet_batches(path, _COLUMNS_READ):
        headers = _headers(batch.column("headers"))
        yield list(map(Whole._make, zip(*_plain_columns(batch), headers, strict=True)))


def _headers(column: Any) -> list[Headers]:
    pairs = column.flatten()
    each = zip(pairs.field("key").to_pylist(), pairs.field("value").to_pylist(), strict=True)
    return [tuple(islice(each, length)) for length in column.value_lengths().to_pylist()]


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield batches while the next is unpacked in a thread, which Arrow does beside Python."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = thread.submit(next, batches, None)
            yield batch


def _plain_columns(batch: Any) -> list[list[Any]]:
    return [
        batch.column("offset").to_pylist(),
        batch.column("received_at").cast(pa.int64()).to_pylist(),
        _keys(batch.column("key")),
        batch.column("value").to_pylist(),
    ]


def _keys(column: Any) -> list[bytes | None]:
    """Return keys, of which there are few: each is made once."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    known = encoded.dictionary.to_pylist()
    return [None if place is None else known[place] for place in encoded.indices.to_pylist()]


def _parquet_batches(path: Path, columns: list[str]) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path, read_dictionary=["key"]) as file:
            for group in range(file.num_row_groups):  # one by one: iter_batches holds more of the file in memory
                table = file.read_row_group(group, columns=columns, use_threads=False)
                yield from table.to_batches(max_chunksize=ROWS_AT_ONCE)
    except (pa.ArrowException, OSError) as error:
        raise OperationError(f"{path} cannot be read ({error}): remove it, and export again") from error


def _read_avro(path: Path) -> Iterator[list[Whole]]:
    try:
        with path.open("rb") as file:
            records: list[Whole] = []
            for row in fastavro.reader(file):
                assert isinstance(row, dict)
                headers = tuple((h["key"], h["value"]) for h in row["headers"])
                records.append(Whole(row["offset"], row["received_at"], row["key"], row["value"], headers))
                if len(records) == ROWS_AT_ONCE:
                    yield records
                    records = []
            if records:
                yield records
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise OperationError(f"{path} cannot be read ({error}): remove it, and export again") from error
