"""The schema registry: whether it answers, and takes what we would write."""

from collections.abc import Mapping
from enum import Enum
from urllib.parse import urlsplit

import httpx
from schema_registry.client import AsyncSchemaRegistryClient
from schema_registry.client.errors import ClientError
from schema_registry.client.schema import AvroSchema

from coinglass_streams.doctor.findings import Finding, Level, Trouble, so_many
from processors.registry import schemas_by_subject
from processors.windows import WindowSize
from schemas.records import schema_text
from schemas.topics import Topics

FAILURES = (ClientError, httpx.HTTPError, httpx.InvalidURL, ValueError)


class SubjectState(Enum):
    """How a subject stands to the schema that we would write under it."""

    REGISTERED = "registered"
    COMPATIBLE = "another, compatible"
    INCOMPATIBLE = "another, incompatible"
    MISSING = "missing"


async def look_at_registry(
    url: str, topics: Topics, windows: tuple[WindowSize, ...]
) -> Mapping[str, SubjectState] | Trouble:
    """Return the state of each subject, or why the registry cannot be asked. It registers nothing."""
    client = AsyncSchemaRegistryClient(url)
    try:
        known = set(await client.get_subjects())
        return {
            subject: await _state(client, subject, schema_text(name)) if subject in known else SubjectState.MISSING
            for subject, name in schemas_by_subject(topics, windows).items()
        }
    except FAILURES as error:
        remedy = "see --schema-registry, and that it is a registry with Confluent's API"
        return Trouble(f"{place_of(url)} does not answer as a registry ({type(error).__name__})", remedy)


async def _state(client: AsyncSchemaRegistryClient, subject: str, text: str) -> SubjectState:
    schema = AvroSchema(text)
    if await client.check_version(subject, schema) is not None:
        return SubjectState.REGISTERED
    fits = await client.test_compatibility(subject, schema)
    return SubjectState.COMPATIBLE if fits else SubjectState.INCOMPATIBLE


def judge_registry(url: str, seen: Mapping[str, SubjectState]) -> list[Finding]:
    """Say what would be refused, and what is not there yet."""
    findings = []
    register = f"run 'coinglass-streams schemas --schema-registry {place_of(url)}'; a worker does so too when it starts"
    for state, level, what, remedy in (
        (
            SubjectState.INCOMPATIBLE,
            Level.FAIL,
            "will not be taken beside what stands under",
            "use another --topic-prefix",
        ),
        (SubjectState.COMPATIBLE, Level.WARN, "not registered yet, and compatible, under", register),
        (SubjectState.MISSING, Level.WARN, "not registered yet under", register),
    ):
        subjects = [subject for subject, one in seen.items() if one is state]
        if subjects:
            more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
            findings.append(Finding("registry", level, f"our schemas are {what} {subjects[0]}{more}", remedy))
    if not findings:
        findings.append(Finding("registry", Level.OK, f"{place_of(url)} has {so_many(len(seen), 'subject')}, all ours"))
    return findings


def place_of(url: str) -> str:
    """Return an address without its user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
