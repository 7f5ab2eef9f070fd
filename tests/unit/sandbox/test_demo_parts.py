"""The demo's pure parts: how finals and numbers read, and what a child's log says last."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from sandbox.demo.children import last_line, without_our_settings
from sandbox.demo.finals import Final
from sandbox.demo.numbers import Numbers, combined
from sandbox.demo.screen import LiveScreen, PlainScreen, final_line, status_line
from sandbox.demo.settings import CHANNELS, DemoSettings, Ports
from sandbox.simulate.market import knows_channel
from schemas.durations import parse_duration
from schemas.errors import UsageError
from schemas.topics import Topics

WINDOW = {
    "window_start": datetime(2024, 9, 4, 2, 18, 30, tzinfo=UTC),
    "window_end": datetime(2024, 9, 4, 2, 18, 40, tzinfo=UTC),
    "revision": 0,
}
LIQUIDATIONS = Final(
    "liquidations",
    "10s",
    {"asset": "BTC", "long_usd": 1_234.5, "short_usd": 2.0, "total_usd": 1_236.5, "largest_usd": 1_000.0, **WINDOW}
    | {"coverage": None},
)
IMBALANCE = Final(
    "imbalance",
    "1m",
    {"exchange": "Gate", "symbol": "BTC_USDT", "min_vol_usd": 10_000.0, "buy_usd": 10.0, "sell_usd": 30.0, **WINDOW}
    | {"imbalance": -0.5, "coverage": 0.999},
)


@pytest.fixture
def settings(tmp_path: Path) -> DemoSettings:
    return DemoSettings(tmp_path, Ports(1, 2, 3, 4), (parse_duration("10s"),), Topics())


def test_a_final_reads_as_one_line() -> None:
    assert final_line(LIQUIDATIONS) == (
        "liquidations 10s BTC 02:18:30-02:18:40: long $1,234, short $2, largest $1,000, coverage unknown"
    )
    assert final_line(IMBALANCE) == (
        "imbalance 1m Gate BTC_USDT ≥10,000 02:18:30-02:18:40: bought $10, sold $30, imbalance -0.50, coverage 100%"
    )


def test_what_is_not_known_is_a_dash() -> None:
    assert status_line(Numbers()).startswith("frames/s -  frames -  lag -")


def test_numbers_are_summed_over_partitions_and_the_rate_is_against_those_before() -> None:
    before = combined({"coinglass_producer_frames_total": [100.0]}, None, Numbers(), now_s=10.0)
    assert (before.frames, before.frames_per_s, before.ready) == (100.0, None, False)
    worker = {
        "coinglass_ready": [1.0],
        "coinglass_watermark_delay_seconds": [5.1, 10.2],
        "coinglass_lag_records": [1.0, 2.0],
    }
    now = combined({"coinglass_producer_frames_total": [300.0]}, worker, before, now_s=12.0)
    assert (now.frames_per_s, now.watermark_delay_s, now.lag_records, now.ready) == (100.0, 10.2, 3.0, True)


@pytest.mark.parametrize(
    ("by_producer", "by_worker", "shown"),
    [([], [], None), ([2.0], [], 2.0), ([], [3.0, 1.0], 4.0), ([2.0], [3.0], 5.0)],
)
def test_dead_letters_are_the_producers_and_the_workers(
    by_producer: list[float], by_worker: list[float], shown: float | None
) -> None:
    samples = {"coinglass_producer_dead_letters_total": by_producer}, {"coinglass_rejected_total": by_worker}
    assert combined(*samples, Numbers(), now_s=1.0).dead_letters == shown


def test_only_the_first_final_of_each_kind_and_window_is_a_line(
    settings: DemoSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = PlainScreen(settings)
    screen.finals([LIQUIDATIONS, LIQUIDATIONS])
    screen.finals([IMBALANCE, LIQUIDATIONS])
    assert capsys.readouterr().out.count("first final: ") == 2


@pytest.mark.parametrize("height", [10, 24, 60])
def test_the_picture_fits_the_terminal_and_shows_the_dashboard(settings: DemoSettings, height: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=height)
    screen = LiveScreen(settings, console)
    screen.finals([LIQUIDATIONS, IMBALANCE] * 20)
    lines = console.render_lines(screen.picture())
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert len(lines) <= max(height, 18)
    assert settings.dashboard in text
    assert "Gate BTC_USDT ≥10,000" in text


def test_the_demo_subscribes_to_channels_that_the_simulator_knows() -> None:
    assert all(map(knows_channel, CHANNELS))


def test_one_port_for_two_parts_is_refused() -> None:
    with pytest.raises(UsageError):
        Ports(1, 2, 2, 3)


def test_a_childs_environment_sets_none_of_its_flags_and_holds_no_key() -> None:
    given = {"PATH": "/bin", "COINGLASS_BROKER": "elsewhere:9092", "COINGLASS_API_KEY": "secret"}
    assert without_our_settings(given) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("log", "last"),
    [(b"", ""), (b"one\ntwo\n\n \n", "two"), (b"\xff one", "� one"), (b"x\n" * 100_000 + b"end", "end")],
)
def test_the_last_line_of_a_log_is_found(tmp_path: Path, log: bytes, last: str) -> None:
    (tmp_path / "log").write_bytes(log)
    assert last_line(tmp_path / "log") == last
    assert last_line(tmp_path / "missing") == ""
