"""The schema registry that the tests use, through the client that the project uses."""

from uuid import uuid4

import pytest
from schema_registry.client import AsyncSchemaRegistryClient, schema
from schema_registry.client.errors import ClientError

FIRST = '{"type":"record","name":"Thing","fields":[{"name":"count","type":"long"}]}'
WITH_DEFAULT = (
    '{"type":"record","name":"Thing","fields":'
    '[{"name":"count","type":"long"},{"name":"note","type":"string","default":""}]}'
)
OTHER_TYPE = '{"type":"record","name":"Thing","fields":[{"name":"count","type":"string"}]}'


async def test_a_registered_schema_is_read_back_by_its_id(registry_url: str) -> None:
    client, subject = AsyncSchemaRegistryClient(registry_url), f"test-{uuid4()}-value"
    schema_id = await client.register(subject, schema.AvroSchema(FIRST))
    fresh = AsyncSchemaRegistryClient(registry_url)  # the first one would answer from its cache
    read = await fresh.get_by_id(schema_id)
    assert read is not None
    assert read.schema["fields"] == schema.AvroSchema(FIRST).schema["fields"]
    latest = await fresh.get_schema(subject)
    assert latest is not None
    assert (latest.schema_id, latest.version) == (schema_id, 1)


async def test_an_incompatible_schema_is_refused(registry_url: str) -> None:
    client, subject = AsyncSchemaRegistryClient(registry_url), f"test-{uuid4()}-value"
    await client.register(subject, schema.AvroSchema(FIRST))
    await client.update_compatibility("BACKWARD", subject)
    await client.register(subject, schema.AvroSchema(WITH_DEFAULT))
    with pytest.raises(ClientError):
        await client.register(subject, schema.AvroSchema(OTHER_TYPE))
