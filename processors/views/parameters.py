"""What a request asks for: its query and headers, checked. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from processors.views.problems import BadRequestError
from processors.windows import WindowSize
from schemas.errors import UsageError
from schemas.moments import MOMENT_MS_MAX, parse_moment

WINDOWS_DEFAULT = 10
#: What the tables keep of closed windows; older ones are read from the finals' topics.
WINDOWS_IN_TABLES = 60
WINDOWS_MAX = 10_000
TEXT_MAX = 40  # characters of one parameter


@dataclass(frozen=True, slots=True)
class Range:
    """`[from_ms, to_ms)`, UTC ms, by the windows' start."""

    from_ms: int
    to_ms: int

    def holds(self, at_ms: int) -> bool:
        """Whether a moment lies in it."""
        return self.from_ms <= at_ms < self.to_ms


@dataclass(frozen=True, slots=True)
class Query:
    """Which windows are asked for: the newest so many of each size, or those of a range."""

    sizes: tuple[WindowSize, ...]
    windows: int = WINDOWS_DEFAULT
    range: Range | None = None
    counted: bool = False  # whether it was said how many

    @property
    def sizes_ms(self) -> tuple[int, ...]:
        """The windows' lengths."""
        return tuple(size.ms for size in self.sizes)


def parse_query(
    items: Iterable[tuple[str, str]], sizes: tuple[WindowSize, ...], now_ms: int, windows_max: int = WINDOWS_MAX
) -> Query:
    """Read `windows`, `window`, `from` and `to`; raises BadRequestError."""
    given = _once(items, {"windows", "window", "from", "to"})
    within = _range(given, now_ms)
    if within is not None and "windows" in given:
        raise BadRequestError("windows and from, to exclude each other: ask for so many, or for a range")
    return Query(_sizes(given, sizes), _count(given, windows_max), within, "windows" in given)


def parse_range(items: Iterable[tuple[str, str]], now_ms: int) -> Range:
    """Read `from` and `to`, all there is without them; raises BadRequestError."""
    return _range(_once(items, {"from", "to"}), now_ms) or Range(0, MOMENT_MS_MAX)


def no_parameters(items: Iterable[tuple[str, str]]) -> None:
    """Refuse any; raises BadRequestError."""
    _once(items, set())


def wants_csv(accept: str) -> bool:
    """Whether an `Accept` header asks for CSV rather than JSON.

    >>> wants_csv("text/csv, application/json;q=0.5")
    True
    >>> wants_csv("*/*")
    False
    """
    weights = {"text/csv": 0.0, "application/json": 0.0}
    for part in accept[:1_000].split(","):
        media, *options = (text.strip().lower() for text in part.split(";"))
        if media in weights:
            weights[media] = next((_weight(o[2:]) for o in options if o.startswith("q=")), 1.0)
    return weights["text/csv"] > weights["application/json"]


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header names gzip, which all browsers do.

    >>> takes_gzip("deflate, gzip;q=0.5"), takes_gzip("gzip;q=0"), takes_gzip("*")
    (True, False, False)
    """
    for part in accept_encoding[:1_000].split(","):
        coding, *options = (text.strip().lower() for text in part.split(";"))
        if coding == "gzip":
            return all(_weight(option[2:]) > 0 for option in options if option.startswith("q="))
    return False


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _once(items: Iterable[tuple[str, str]], known: set[str]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for name, text in items:
        if name not in known:
            there_is = f"there is {', '.join(sorted(known))}" if known else "there is none here"
            raise BadRequestError(f"no such parameter: {name[:TEXT_MAX]!r}; {there_is}")
        if name in given:
            raise BadRequestError(f"{name} is given twice")
        if len(text) > TEXT_MAX:
            raise BadRequestError(f"{name} is too long")
        given[name] = text
    return given


def _count(given: Mapping[str, str], windows_max: int) -> int:
    text = given.get("windows", str(WINDOWS_DEFAULT))
    if not (_is_number(text) and 1 <= int(text) <= windows_max):
        raise BadRequestError(f"windows must be a whole number from 1 to {windows_max}")
    return int(text)


def _sizes(given: Mapping[str, str], sizes: tuple[WindowSize, ...]) -> tuple[WindowSize, ...]:
    if "window" not in given:
        return sizes
    found = tuple(size for size in sizes if size.name == given["window"])
    if not found:
        raise BadRequestError(f"no such window; there is {', '.join(size.name for size in sizes)}")
    return found


def _range(given: Mapping[str, str], now_ms: int) -> Range | None:
    if not given.keys() & {"from", "to"}:
        return None
    within = Range(_moment(given, "from", 0, now_ms), _moment(given, "to", MOMENT_MS_MAX, now_ms))
    if within.from_ms >= within.to_ms:
        raise BadRequestError("from must be before to")
    return within


def _moment(given: Mapping[str, str], name: str, default_ms: int, now_ms: int) -> int:
    if name not in given:
        return default_ms
    text = given[name]
    try:
        if _is_number(text):
            if int(text) > MOMENT_MS_MAX:
                raise UsageError("too far in the future")
            return int(text)
        return parse_moment(text, now_ms)
    except UsageError as error:
        raise BadRequestError(
            f"{name} must be ISO 8601 in UTC, such as 2024-09-04T02:00:00Z, UTC milliseconds, or -24h"
        ) from error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
