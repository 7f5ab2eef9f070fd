import msgspec
import pytest

from schemas.records import json_struct, schema_names


def test_the_frames_struct_has_the_schemas_fields():
    frame = json_struct("frame", strict=False)
    assert frame.__struct_fields__ == ("channel", "data")


def test_numbers_are_held_to_the_schemas_ranges():
    mark = json_struct("feed_mark", strict=False)
    good = b'{"kind":"up","at_ms":9223372036854775807,"heard_at_ms":0,"connection":"","channels":[]}'
    assert msgspec.json.decode(good, type=mark).at_ms == 2**63 - 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(good.replace(b"807", b"808"), type=mark)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(good.replace(b'"up"', b'"sideways"'), type=mark)


def test_a_schema_that_json_cannot_show_plainly_is_refused():
    with pytest.raises(TypeError, match="plain JSON"):
        json_struct("liquidation_volume", strict=False)


def test_all_schemas_are_found():
    names = {"feed_gap", "feed_mark", "frame", "late_record", "liquidation_volume", "trade_imbalance"}
    assert set(schema_names()) == names
