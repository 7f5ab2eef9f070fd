"""What we write, others read: the avro package and fastavro both, in both framings."""

import io
import json
from datetime import UTC, datetime

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import confluent_header, decode, encoder, single_object_header
from schemas.records import avro_schema, schema_names, schema_text

usd = st.floats(0, 1e15)
text = st.text(min_size=1, max_size=64)
time_ms = st.integers(0, 4_102_444_800_000)
liquidation_volumes = st.fixed_dictionaries(
    {
        "asset": text,
        "window_start": time_ms,
        "window_end": time_ms,
        **dict.fromkeys(("long_usd", "short_usd", "total_usd", "largest_usd"), usd),
        "long_count": st.integers(0, 2**40),
        "short_count": st.integers(0, 2**40),
        "coverage": st.none() | st.floats(0, 1),
        "revision": st.integers(0, 100),
    }
)


def as_ms(value):
    return round(value.timestamp() * 1000) if isinstance(value, datetime) else value


@given(liquidation_volumes)
def test_the_avro_package_and_fastavro_read_what_we_write(value):
    written = encoder("liquidation_volume", single_object_header("liquidation_volume"))(value)
    schema = avro_schema("liquidation_volume")
    by_avro = avro.io.DatumReader(schema, schema).read(avro.io.BinaryDecoder(io.BytesIO(written[10:])))
    by_fastavro = fastavro.schemaless_reader(
        io.BytesIO(written[10:]), fastavro.parse_schema(json.loads(schema_text("liquidation_volume"))), None
    )
    for read in (by_avro, by_fastavro, decode("liquidation_volume", written)):
        assert {k: as_ms(v) for k, v in read.items()} == value


@given(liquidation_volumes)
def test_we_read_what_the_avro_package_writes(value):
    schema, out = avro_schema("liquidation_volume"), io.BytesIO()
    times = {k: datetime.fromtimestamp(value[k] / 1e3, UTC) for k in ("window_start", "window_end")}
    avro.io.DatumWriter(schema).write({**value, **times}, avro.io.BinaryEncoder(out))
    assert encoder("liquidation_volume", b"")(value) == out.getvalue()


def test_the_fingerprint_is_that_of_the_specification():
    # CRC-64-AVRO of "int" as the Avro project's own test suite has it: 0x7275d51a3f395c8f, little-endian in the header.
    from fastavro.schema import fingerprint

    assert fingerprint('"int"', "CRC-64-AVRO") == "8f5c393f1ad57572"
    for name in schema_names():
        assert single_object_header(name)[:2] == b"\xc3\x01"
        assert len(single_object_header(name)) == 10
    # The canonical form has no logical types: so these two are one schema.
    plain = {"type": "record", "name": "R", "fields": [{"name": "t", "type": "long"}]}
    logical = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}],
    }
    from fastavro.schema import to_parsing_canonical_form

    assert to_parsing_canonical_form(plain) == to_parsing_canonical_form(logical)


def test_the_confluent_wire_format_bears_the_schema_id():
    assert confluent_header(258) == b"\x00\x00\x00\x01\x02"


def test_a_value_of_another_schema_or_of_no_framing_is_refused():
    late = single_object_header("late_record")
    with pytest.raises(ValueError, match="another schema"):
        decode("liquidation_volume", late + b"x")
    with pytest.raises(ValueError, match="neither"):
        decode("liquidation_volume", b"{}")


def test_every_field_is_documented():
    def fields(schema):
        for field in schema.get("fields", []):
            yield schema["name"], field
            inner = field["type"]
            if isinstance(inner, dict):
                yield from fields(inner.get("items", inner) if isinstance(inner.get("items", inner), dict) else {})

    for name in schema_names():
        for record, field in fields(json.loads(schema_text(name))):
            assert field.get("doc"), f"{record}.{field['name']} has no doc"
