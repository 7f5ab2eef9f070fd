"""What a check found: one line each, that says ok or what to do. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is. Only FAIL makes the whole fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"  # could not be looked at, or need not be; `says` tells why


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is what to do; empty where there is nothing to do.

    >>> Finding("broker", Level.OK, "Kafka 4.3").line
    'ok    broker      Kafka 4.3'
    """

    check: str
    level: Level
    says: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The finding as it is shown; nothing in it moves a terminal's cursor."""
        text = f"{self.says}: {self.remedy}" if self.remedy else self.says
        return f"{self.level.value:<5} {self.check:<11} {_plain(text)}"

    def as_json(self) -> dict[str, str]:
        """Return the finding for machines."""
        return {"check": self.check, "level": self.level.value, "says": self.says, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something could not be looked at; the finding of whichever check needed it."""

    says: str
    remedy: str = ""
    level: Level = Level.FAIL

    def finding(self, check: str) -> Finding:
        """Return it as a check's finding."""
        return Finding(check, self.level, self.says, self.remedy)


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether anything failed."""
    return any(finding.level is Level.FAIL for finding in findings)


#: Up to how much time is told in which unit.
_UNITS = (
    (1_000, 1, "ms"),
    (120_000, 1_000, "s"),
    (7_200_000, 60_000, "min"),
    (172_800_000, 3_600_000, "h"),
    (float("inf"), 86_400_000, "days"),
)


def so_long(ms: float) -> str:
    """Return a length of time as a person says it.

    >>> so_long(84), so_long(2_345), so_long(300_000), so_long(7 * 86_400_000)
    ('84 ms', '2.3 s', '5 min', '7 days')
    """
    ms = abs(ms)
    unit_ms, unit = next((unit_ms, unit) for below_ms, unit_ms, unit in _UNITS if ms < below_ms)
    return f"{ms / unit_ms:.1f} {unit}" if unit == "s" else f"{ms / unit_ms:.0f} {unit}"


def so_many(count: int, thing: str, things: str = "") -> str:
    """Return a number with its noun.

    >>> so_many(1, "node"), so_many(4_000, "copy", "copies")
    ('1 node', '4,000 copies')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
