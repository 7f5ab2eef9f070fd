"""Avro values of the contract to bytes and back: single-object encoding, or the Confluent wire format. Pure.

single-object   C3 01 | 8 bytes fingerprint (CRC-64-AVRO, little-endian) | Avro binary
Confluent       00    | 4 bytes schema id (big-endian)                   | Avro binary
"""

import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.types import Schema

from schemas.records import schema_text

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MAGIC = b"\x00"

Encoder = Callable[[Mapping[str, Any]], bytes]


@cache
def parsed_schema(name: str) -> Schema:
    """Return a schema as `fastavro` parses it."""
    return fastavro.parse_schema(json.loads(schema_text(name)))


@cache
def single_object_header(name: str) -> bytes:
    """Return the 10 bytes before a value in single-object encoding."""
    # fastavro's canonical form: avro 1.12 leaves {"type": "long"} where a logical type was stripped, against the
    # specification, and so would give a fingerprint that no other reader finds.
    canonical = to_parsing_canonical_form(json.loads(schema_text(name)))
    return SINGLE_OBJECT_MARKER + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def confluent_header(schema_id: int) -> bytes:
    """Return the 5 bytes before a value in the Confluent wire format."""
    return CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")


def encoder(name: str, header: bytes) -> Encoder:
    """Return a function that turns one schema's values into bytes behind `header`; timestamps are ints, UTC ms."""
    schema, write = parsed_schema(name), fastavro.schemaless_writer

    def encode(value: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(header)
        write(out, schema, value)
        return out.getvalue()

    return encode


def decode(name: str, value: bytes) -> dict[str, Any]:
    """Read a value in either framing, timestamps as datetimes; raises ValueError where it has neither."""
    return _read(name, value, parsed_schema(name))


def decode_plain(name: str, value: bytes) -> dict[str, Any]:
    """Read a value as `decode` does, with timestamps as ints, UTC ms."""
    return _read(name, value, _plain_schema(name))


@cache
def _plain_schema(name: str) -> Schema:
    """Return a schema without its logical types: they stand in the `.avsc` and change no byte."""
    return fastavro.parse_schema(json.loads(to_parsing_canonical_form(json.loads(schema_text(name)))))


def _read(name: str, value: bytes, schema: Schema) -> dict[str, Any]:
    if value[:2] == SINGLE_OBJECT_MARKER:
        if value[:10] != single_object_header(name):
            raise ValueError(f"the value was written with another schema than {name}")
        body = value[10:]
    elif value[:1] == CONFLUENT_MAGIC:
        body = value[5:]
    else:
        raise ValueError("the value is neither in single-object encoding nor in the Confluent wire format")
    record = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
    assert isinstance(record, dict)
    return record
