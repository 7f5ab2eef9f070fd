import csv
import io

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.views.answers import _merged
from processors.views.csv_answers import windows_as_csv
from processors.views.history import AFTER_SILENCE_MS, KEPT_MAX, KEPT_WINDOWS_MAX, FinalsHistory, _Horizon, _Read
from processors.views.openapi import document
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.topics import Topics

WINDOW = {
    "asset": 'a,"b"\r\n', "window_start": 1, "window_end": 2, "long_usd": 1e21, "short_usd": 0.1, "total_usd": 0.0,
    "largest_usd": 0.0, "long_count": 3, "short_count": 0, "coverage": None, "revision": 0, "window": "1m",
    "final": False,
}  # fmt: skip


def test_csv_has_a_line_a_window_with_the_schema_s_columns_and_any_name_survives_it():
    first, second = csv.reader(io.StringIO(windows_as_csv(LIQUIDATION_VOLUME, [WINDOW]).decode(), newline=""))
    assert first == list(WINDOW)
    shown = dict(zip(first, second, strict=True))
    assert (shown["asset"], shown["coverage"], shown["final"], float(shown["long_usd"])) == (
        'a,"b"\r\n', "", "false", 1e21,
    )  # fmt: skip


def test_csv_without_windows_is_a_header():
    assert windows_as_csv(TRADE_IMBALANCE, []).decode().startswith("exchange,symbol,base_asset,")


def test_reading_stops_a_while_after_what_was_told_first_past_the_horizon():
    horizon = _Horizon(1_000)
    assert [horizon.look(at_ms) for at_ms in (900, 1_000)] == [False, False]
    silence = 1_000_000  # what was not told before it is told right after it
    assert [horizon.look(silence + more) for more in (0, 10, AFTER_SILENCE_MS)] == [False] * 3
    assert not horizon.passed
    assert horizon.look(silence + AFTER_SILENCE_MS + 1)
    assert horizon.passed


def test_a_window_that_is_open_here_and_final_in_its_topic_already_is_told_of_once():
    final = {**WINDOW, "final": True}
    other = {**WINDOW, "window_start": 9}
    assert _merged([WINDOW, other], [final]) == [other, final]


def test_what_was_read_is_kept_within_bounds_and_dropped_one_by_one():
    history = FinalsHistory("nowhere:1", Topics())
    for number in range(KEPT_MAX + 10):
        history._keep(("small", number), _Read([WINDOW], {}, True, True))
    assert len(history._kept) == history._kept_windows == KEPT_MAX
    assert ("small", 9) not in history._kept
    large = _Read([WINDOW] * (KEPT_WINDOWS_MAX - 1), {}, True, True)
    for _ in range(2):  # the second takes the place of the first
        history._keep(("large",), large)
    assert list(history._kept) == [("small", KEPT_MAX + 9), ("large",)]
    assert history._kept_windows == KEPT_WINDOWS_MAX


def test_the_document_asks_for_a_token_only_where_one_is_set_and_never_for_health():
    sizes = window_sizes((parse_duration("1m"),))
    assert "securitySchemes" not in document(sizes, with_token=False)["components"]
    paths = document(sizes, with_token=True)["paths"]
    assert {path for path, of in paths.items() if not of["get"]["security"]} == {"/health", "/ready"}
    assert all("401" in of["get"]["responses"] for of in paths.values() if of["get"]["security"])
