"""Whether the feed still looks as `frame.avsc` has it, over many frames. Pure."""

from collections import Counter

from coinglass_streams.doctor.findings import Finding, Level, so_many
from schemas.drift import UNKNOWN, Drift, aliases_of, drift_of

#: Different differences that are counted, and shown. A feed that makes up names must not fill the memory.
KINDS_MAX = 100
SHOWN_MAX = 8


class DriftTally:
    """Counts what differs, and in how many frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.found: Counter[Drift] = Counter()
        self.aliases: Counter[str] = Counter()

    def add(self, payload: bytes) -> None:
        """Look at one frame."""
        self.frames += 1
        for drift in drift_of(payload):
            if drift in self.found or len(self.found) < KINDS_MAX:
                self.found[drift] += 1
        self.aliases.update(aliases_of(payload))


def judge_drift(live: DriftTally | None, kept: DriftTally | None) -> list[Finding]:
    """Say what differs in frames heard live and in those of the raw topics; None where neither could be had."""
    tallies = [tally for tally in (live, kept) if tally is not None]
    frames = sum(tally.frames for tally in tallies)
    if not frames:
        return [Finding("drift", Level.SKIP, "no frame was heard, and none is kept")]
    found = sum((tally.found for tally in tallies), Counter[Drift]())
    where = f"of {so_many(frames, 'frame')}, {live.frames if live else 0:,} of them live"
    accepted = {drift: count for drift, count in found.items() if drift.what == UNKNOWN}
    refused = {drift: count for drift, count in found.items() if drift.what != UNKNOWN}
    findings = []
    if refused:
        says = f"{_listed(refused)}, {where}"
        findings.append(Finding("drift", Level.FAIL, says, "such frames are not counted; see for a newer version"))
    if accepted:
        says = f"{_listed(accepted)}, {where}"
        findings.append(Finding("drift", Level.WARN, says, "they are passed over; see for a newer version"))
    if not findings:
        findings.append(Finding("drift", Level.OK, f"none {where}; {_spelling(tallies)}"))
    return findings


def _listed(found: dict[Drift, int]) -> str:
    most = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{drift.path or 'the frame'} {drift.what} in {count:,}" for drift, count in most[:SHOWN_MAX]]
    more = [f"{len(most) - SHOWN_MAX} more"] if len(most) > SHOWN_MAX else []
    return ", ".join([*shown, *more])


def _spelling(tallies: list[DriftTally]) -> str:
    aliases = sorted(set().union(*(tally.aliases for tally in tallies)))
    return f"the newer spelling is in use: {', '.join(aliases)}" if aliases else "the spelling of frame.avsc"
