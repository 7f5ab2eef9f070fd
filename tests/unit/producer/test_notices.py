"""What the feed says beside frames, in the ways in which feeds say it."""

from typing import Any

import pytest

from producer.notices import Verdict, names_in, verdict


@pytest.mark.parametrize(
    "notice",
    [
        {"success": False},
        {"ok": False, "msg": "sorry"},
        {"event": "error", "success": False, "message": "unknown channel: x"},
        {"event": "Error"},
        {"type": "error", "code": 0},
        {"status": "failed"},
        {"status": 403},
        {"status": "403"},
        {"code": "40001", "msg": "a plan"},
        {"code": 400},
        {"code": "INVALID_CHANNEL"},
        {"retCode": 10_001},
        {"error": "no"},
        {"error": {"code": 7}},
        {"msg": "Your plan does not allow it: permission denied"},
        {"message": "Invalid channel"},
    ],
)
def test_errors(notice: dict[str, Any]):
    assert verdict(notice) is Verdict.REFUSED


@pytest.mark.parametrize(
    "notice",
    [
        {},
        {"success": True},
        {"event": "unsubscribe", "success": True},
        {"code": 0, "msg": "success"},
        {"code": "00000"},
        {"code": 200, "msg": "unknown is the future"},
        {"status": "ok"},
        {"event": "welcome", "message": "limits apply"},
        {"error": None},
        {"error": ""},
        {"code": True},
        {"msg": ["error"]},
    ],
)
def test_no_errors_and_no_grants(notice: dict[str, Any]):
    assert verdict(notice) is Verdict.SAID


@pytest.mark.parametrize("notice", [{"event": "subscribe", "success": True}, {"op": "subscribed", "code": "0"}])
def test_grants(notice: dict[str, Any]):
    assert verdict(notice) is Verdict.GRANTED


def test_names_are_found_whole_and_wherever_they_stand():
    name = "futures_trades@Binance_BTCUSDT@10000"
    for text in (f'{{"arg":["{name}"]}}', f"no {name}.", f"channel:{name}", f"({name})", f"channel={name};", name):
        assert name in names_in(text)
    assert name not in names_in(f"{name}0 x{name} {name}@1")
    assert "futures_trades@Bitfinex_BTCF0:USTF0@1" in names_in('"futures_trades@Bitfinex_BTCF0:USTF0@1"')
