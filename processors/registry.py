"""Results' schemas in a Confluent-compatible registry, subject `{topic}-value`, and the headers with their ids."""

from collections.abc import Mapping

from requests.exceptions import RequestException
from schema_registry.client import SchemaRegistryClient
from schema_registry.client.errors import ClientError
from schema_registry.client.schema import AvroSchema

from processors.aggregates import AGGREGATES
from processors.settings import WorkerSettings
from schemas.codec import confluent_header
from schemas.errors import OperationError
from schemas.records import schema_text


def subjects(settings: WorkerSettings) -> Mapping[str, str]:
    """Return the subject of each topic with Avro values, with its schema's name."""
    found = {
        f"{aggregate.topic(settings.topics, window.name)}-value": aggregate.schema
        for aggregate in AGGREGATES.values()
        for window in settings.window_sizes
    }
    return {**found, f"{settings.topics.late}-value": "late_record"}


def registered_headers(settings: WorkerSettings, url: str) -> Mapping[str, bytes]:
    """Register the results' schemas and return, for each schema, the bytes before its values.

    Raises OperationError where the registry cannot be reached or refuses a schema as incompatible.
    """
    headers: dict[str, bytes] = {}
    client = SchemaRegistryClient(url=url)
    for subject, name in subjects(settings).items():
        try:
            schema_id = client.register(subject, AvroSchema(schema_text(name)))
        except (ClientError, RequestException) as error:
            raise OperationError(f"the schema registry at {url} did not take {subject}: {error}") from error
        headers[name] = confluent_header(schema_id)
    return headers
