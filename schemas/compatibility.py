"""Whether schemas can still read what the last release wrote, and it what they write. Pure after import.

The last release's schemas lie in `released/`, as `.json` so that nothing takes them for the current ones. A release
copies the current ones over them.
"""

from importlib import resources

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.records import avro_schema, schema_names


def incompatibilities(name: str, released: str, current: avro.schema.Schema) -> list[str]:
    """Return what stands between a released schema's text and the current one, in either direction; [] for nothing."""
    old, checker = avro.schema.parse(released), ReaderWriterCompatibilityChecker()
    found = []
    for way, reader, writer in (("read old values", current, old), ("be read by old readers", old, current)):
        result = checker.get_compatibility(reader, writer)
        if result.compatibility is not SchemaCompatibilityType.compatible:
            found += [f"{name} could not {way}: {message}" for message in sorted(result.messages)]
    return found


def incompatible_with_release() -> list[str]:
    """Return what in the current schemas breaks with the last release, [] for nothing."""
    found = []
    for file in sorted(resources.files("schemas").joinpath("released").iterdir(), key=lambda f: f.name):
        name = file.name.removesuffix(".json")
        if name not in schema_names():
            found.append(f"{name} was released and is gone")
            continue
        found += incompatibilities(name, file.read_text("utf-8"), avro_schema(name))
    return found
