import json

import avro.schema
import pytest

from schemas.compatibility import incompatibilities, incompatible_with_release
from schemas.records import schema_names, schema_text


def test_the_current_schemas_are_compatible_with_the_last_release():
    assert incompatible_with_release() == []


def changed(name, change):
    schema = json.loads(schema_text(name))
    change(schema["fields"])
    return avro.schema.parse(json.dumps(schema))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda fields: fields.append({"name": "new", "type": "string"}), id="a field without a default"),
        pytest.param(lambda fields: fields.pop(0), id="a field gone"),
        pytest.param(lambda fields: fields[0].update(type="long"), id="a type changed"),
    ],
)
def test_a_breaking_change_is_found(change):
    released = schema_text("liquidation_volume")
    assert incompatibilities("liquidation_volume", released, changed("liquidation_volume", change))


def test_a_field_with_a_default_breaks_nothing():
    current = changed("late_record", lambda fields: fields.append({"name": "note", "type": "string", "default": ""}))
    assert incompatibilities("late_record", schema_text("late_record"), current) == []


def test_every_schema_has_a_release_to_be_held_against():
    from importlib import resources

    released = {f.name.removesuffix(".json") for f in resources.files("schemas").joinpath("released").iterdir()}
    assert released <= set(schema_names())
