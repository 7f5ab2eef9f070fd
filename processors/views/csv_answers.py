"""Windows as CSV: a header line, then a line for each window, columns in the order of the final's `.avsc`. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from processors.aggregates import Aggregate
from schemas.records import avro_schema


def columns(aggregate: Aggregate) -> list[str]:
    """Return the names of the columns: the final's fields, then `window` and `final`."""
    schema: Any = avro_schema(aggregate.schema)
    return [*(field.name for field in schema.fields), "window", "final"]


def windows_as_csv(aggregate: Aggregate, windows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return window objects as CSV (RFC 4180); an open window's coverage is empty, `final` is true or false."""
    out = io.StringIO(newline="")
    names = columns(aggregate)
    writer = csv.writer(out)
    writer.writerow(names)
    for window in windows:
        writer.writerow(_text(window[name]) for name in names)
    return out.getvalue().encode(errors="replace")


def _text(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value
