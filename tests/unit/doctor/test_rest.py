"""The other checks: registry, drift over many frames, disk; and the settings."""

import json
from pathlib import Path

import pytest

from coinglass_streams.doctor.disk import GIB, DiskSeen, judge_disk, look_at_disk
from coinglass_streams.doctor.drift import KINDS_MAX, SHOWN_MAX, DriftTally, judge_drift
from coinglass_streams.doctor.findings import Level
from coinglass_streams.doctor.key import KeySeen
from coinglass_streams.doctor.registry import SubjectState, judge_registry
from coinglass_streams.doctor.settings import DoctorSettings
from producer.settings import DEFAULT_URL, Secret
from schemas.durations import parse_duration
from schemas.errors import UsageError
from schemas.topics import Topics

RECORD = {
    "baseAsset": "BTC", "exName": "Binance", "price": 1.0, "side": 2, "symbol": "BTCUSDT", "time": 1, "volUsd": 1.0,
}  # fmt: skip


def tally(*records):
    found = DriftTally()
    for record in records:
        found.add(json.dumps({"channel": "liquidationOrders", "data": [record]}).encode())
    return found


def test_a_feed_as_it_should_be_says_its_spelling():
    newer = {"volume_usd" if name == "volUsd" else name: value for name, value in RECORD.items()}
    (older_one,) = judge_drift(tally(RECORD, RECORD), tally(RECORD))
    (newer_one,) = judge_drift(tally(newer), None)
    assert (older_one.level, newer_one.level) == (Level.OK, Level.OK)
    assert older_one.says == "none of 3 frames, 2 of them live; the spelling of frame.avsc"
    assert newer_one.says == "none of 1 frame, 1 of them live; the newer spelling is in use: data.volume_usd"


def test_unknown_fields_are_a_warning_and_changed_types_a_failure():
    refused, accepted = judge_drift(tally(RECORD, RECORD | {"leverage": 2}), tally(RECORD | {"price": "1"}))
    assert (refused.level, refused.says) == (
        Level.FAIL,
        "data.price string instead of double in 1, of 3 frames, 2 of them live",
    )
    assert (accepted.level, accepted.says) == (Level.WARN, "data.leverage unknown in 1, of 3 frames, 2 of them live")


def test_a_feed_that_makes_up_names_fills_neither_memory_nor_screen():
    found = tally(*(RECORD | {f"made-up-{n}": n} for n in range(2 * KINDS_MAX)))
    assert len(found.found) == KINDS_MAX
    (finding,) = judge_drift(found, None)
    assert finding.says.count("made-up") == SHOWN_MAX
    assert f"{KINDS_MAX - SHOWN_MAX} more" in finding.says


def test_without_a_frame_there_is_nothing_to_say_of_drift():
    assert [finding.level for finding in judge_drift(None, DriftTally())] == [Level.SKIP]


STATES = {
    SubjectState.REGISTERED: (Level.OK, "1 subject, all ours"),
    SubjectState.COMPATIBLE: (Level.WARN, "compatible"),
    SubjectState.INCOMPATIBLE: (Level.FAIL, "will not be taken"),
    SubjectState.MISSING: (Level.WARN, "not registered yet"),
}


@pytest.mark.parametrize(("state", "expected"), STATES.items(), ids=lambda state: getattr(state, "name", ""))
def test_a_registry_is_judged_by_its_subjects_and_its_password_is_not_shown(state, expected):
    (finding,) = judge_registry("http://user:s3cret@registry:8081", {"coinglass.late-value": state})
    assert finding.level is expected[0]
    assert expected[1] in finding.says
    assert "s3cret" not in finding.line


def test_a_full_disk_fails_before_it_is_full():
    def level(free_bytes, *, writable=True):
        (finding,) = judge_disk([DiskSeen((Path("data"),), free_bytes, writable)])
        return finding.level

    assert [level(size) for size in (GIB // 4, GIB, 5 * GIB)] == [Level.FAIL, Level.WARN, Level.OK]
    assert level(100 * GIB, writable=False) is Level.FAIL


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_would_be(tmp_path):
    (disk,) = look_at_disk([tmp_path / "a" / "b", tmp_path, tmp_path])
    assert disk.folders == (tmp_path / "a" / "b", tmp_path)
    assert disk.writable
    assert disk.free_bytes > 0


def settings(**changed):
    seconds = parse_duration("1s")
    given = {
        "bootstrap": "127.0.0.1:9092", "topics": Topics(), "url": DEFAULT_URL, "channels": ("liquidationOrders",),
        "key": KeySeen(), "listen": seconds, "windows": (seconds,), "mark_every": seconds, "mark_delay": seconds,
        "folders": (),
    }  # fmt: skip
    return DoctorSettings(**(given | changed))


def test_a_missing_key_is_no_bad_usage_and_keeps_us_from_coinglass_alone():
    assert settings().feed is None
    assert settings(url="ws://127.0.0.1:8765/ws-api").feed is not None
    assert settings(key=KeySeen(Secret("k"))).feed is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://feed"},
        {"channels": ("tickers",)},
        {"listen": parse_duration("0s")},
        {"listen": parse_duration("61s")},
        {"windows": ()},
        {"mark_delay": parse_duration("2h")},
        {"mark_every": parse_duration("2h")},
    ],
)
def test_what_produce_or_process_would_refuse_is_bad_usage(changed):
    with pytest.raises(UsageError):
        settings(**changed)
