"""How far the workers of a group are. Pure."""

from dataclasses import dataclass

from coinglass_streams.doctor.findings import Finding, Level, so_many

#: More than this behind is more than a busy moment.
LAG_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """A raw partition: where its log begins, what the group committed, None for nothing, and where the log ends."""

    begins: int
    committed: int | None
    ends: int


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A consumer group."""

    members: int
    places: tuple[Place, ...]


def judge_group(app_id: str, seen: GroupSeen | None) -> list[Finding]:
    """Say whether workers run, and keep up."""
    start = f"start 'coinglass-streams process --app-id {app_id}'"
    if seen is None:
        return [Finding("group", Level.WARN, f"no worker of --app-id {app_id} has ever run", start)]
    gone = sum(max(0, place.begins - place.committed) for place in seen.places if place.committed is not None)
    lag = sum(place.ends - max(place.begins, place.committed or 0) for place in seen.places)
    behind = f"{so_many(lag, 'record')} behind on {so_many(len(seen.places), 'partition')}"
    findings = []
    if gone:
        says = f"{so_many(gone, 'record')} were deleted before {app_id} had read them"
        findings.append(Finding("group", Level.FAIL, says, "raise retention.ms, and start a worker in time"))
    if not seen.members:
        findings.append(Finding("group", Level.WARN, f"no worker of {app_id} is running, {behind}", start))
    elif lag > LAG_MAX:
        says = f"{app_id} is {behind}, with {so_many(seen.members, 'worker')}"
        findings.append(Finding("group", Level.WARN, says, "look again in a minute; if it grows, start another worker"))
    elif not findings:
        findings.append(Finding("group", Level.OK, f"{app_id}, {so_many(seen.members, 'worker')}, {behind}"))
    return findings
