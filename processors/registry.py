"""Results' schemas in a Confluent-compatible registry, subject `{topic}-value`."""

from collections.abc import Mapping, Sequence

import httpx
from schema_registry.client import SchemaRegistryClient
from schema_registry.client.errors import ClientError
from schema_registry.client.schema import AvroSchema

from processors.aggregates import AGGREGATES
from processors.windows import WindowSize
from schemas.codec import confluent_header
from schemas.errors import OperationError
from schemas.records import schema_text
from schemas.topics import Topics


def schemas_by_subject(topics: Topics, windows: Sequence[WindowSize]) -> Mapping[str, str]:
    """Return which schema stands under which subject."""
    finals = {
        f"{aggregate.topic(topics, window.name)}-value": aggregate.schema
        for aggregate in AGGREGATES.values()
        for window in windows
    }
    return {**finals, f"{topics.late}-value": "late_record", f"{topics.feed_gaps}-value": "feed_gap"}


def register_results(url: str, topics: Topics, windows: Sequence[WindowSize]) -> Mapping[str, int]:
    """Register the schema of every topic with Avro values, and return each subject's schema id.

    Raises OperationError where the registry cannot be reached or refuses a schema, as incompatible for one.
    """
    client, ids = SchemaRegistryClient(url=url), dict[str, int]()
    for subject, name in schemas_by_subject(topics, windows).items():
        try:
            ids[subject] = client.register(subject, AvroSchema(schema_text(name)))
        except (ClientError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise OperationError(f"the schema registry at {url} did not take {subject}: {error}") from error
    return ids


def registered_headers(url: str, topics: Topics, windows: Sequence[WindowSize]) -> Mapping[str, bytes]:
    """Register as above, and return for each schema the bytes that go before its values.

    A registry gives one schema one id, under however many subjects it stands.
    """
    ids = register_results(url, topics, windows)
    return {name: confluent_header(ids[subject]) for subject, name in schemas_by_subject(topics, windows).items()}
