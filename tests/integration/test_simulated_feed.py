"""The simulated feed as a client meets it: a real websocket-client against the real server, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import fastavro
import pytest
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketTimeoutException,
    create_connection,
)

from schemas.codec import parsed_schema

#: What a client sees of a lost connection.
LOST = (ConnectionError, WebSocketTimeoutException, WebSocketConnectionClosedException)

LIQUIDATIONS = "liquidationOrders"
BINANCE = "futures_trades@Binance_BTCUSDT@10000"
GATE = "futures_trades@Gate_BTC_USDT@0"
FRAME_SCHEMA = parsed_schema("frame")


@contextmanager
def _simulate(*flags: str) -> Iterator[str]:
    """Run the command on a free port, yield its address, and hold it to stopping with 0."""
    command = [sys.executable, "-m", "coinglass_streams", "simulate", "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            line = process.stderr.readline()
            assert "simulate.ready" in line, line
            yield next(part.removeprefix("url=") for part in line.split() if part.startswith("url="))
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=20)
        assert process.returncode == 0, log
        assert "Traceback" not in log


@contextmanager
def _connected(url: str, *channels: str) -> Iterator[WebSocket]:
    ws = create_connection(url, timeout=10, skip_utf8_validation=True)
    try:
        if channels:
            _request(ws, "subscribe", *channels)
        yield ws
    finally:
        ws.close(timeout=1)
        ws.shutdown()  # close() alone leaves the socket of a lost connection open


def _request(ws: WebSocket, method: str, *channels: str) -> None:
    ws.send(json.dumps({"method": method, "channels": channels}))


def _until(ws: WebSocket, wanted: Callable[[int, bytes], bool], seconds: float = 10) -> tuple[int, bytes]:
    """Return the first message, opcode and payload, that is wanted."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        opcode, payload = ws.recv_data()
        if wanted(opcode, payload):
            return opcode, payload
    raise AssertionError("it did not come")


def _reply(ws: WebSocket, event: str) -> dict:
    _, payload = _until(ws, lambda _, payload: payload.startswith(b'{"event":"' + event.encode()))
    reply = json.loads(payload)
    assert not {"channel", "data"} <= set(reply)
    return reply


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with _simulate("--rate", "500") as url:
        yield url


def test_what_is_subscribed_comes_and_every_frame_decodes_by_the_contract(url: str) -> None:
    with _connected(url, LIQUIDATIONS, BINANCE, GATE) as ws:
        assert _reply(ws, "subscribe")["channels"] == [LIQUIDATIONS, BINANCE, GATE]
        frames = [json.loads(ws.recv()) for _ in range(1_000)]
    assert {frame["channel"] for frame in frames} == {LIQUIDATIONS, BINANCE, GATE}
    for frame in frames:
        assert fastavro.validation.validate(frame, FRAME_SCHEMA, strict=True)
        for record in frame["data"]:
            assert abs(record["time"] - time.time() * 1_000) < 15_000
            assert record["volUsd"] >= (10_000 if frame["channel"] == BINANCE else 0)


def test_nothing_comes_before_a_subscription(url: str) -> None:
    with _connected(url) as ws:
        ws.settimeout(0.5)
        with pytest.raises(WebSocketTimeoutException):
            ws.recv()


def test_ping_is_answered_with_pong_among_the_frames(url: str) -> None:
    with _connected(url, LIQUIDATIONS) as ws:
        ws.send("ping")
        _until(ws, lambda opcode, payload: opcode == ABNF.OPCODE_TEXT and payload == b"pong")


def test_an_unsubscribed_channel_stops_and_the_other_goes_on(url: str) -> None:
    with _connected(url, LIQUIDATIONS, BINANCE) as ws:
        _reply(ws, "subscribe")
        _request(ws, "unsubscribe", LIQUIDATIONS)
        assert _reply(ws, "unsubscribe")["channels"] == [LIQUIDATIONS]
        assert {json.loads(ws.recv())["channel"] for _ in range(200)} == {BINANCE}


def test_each_client_gets_only_its_own_channels(url: str) -> None:
    with _connected(url, LIQUIDATIONS) as one, _connected(url, BINANCE) as other:
        _reply(one, "subscribe")
        _reply(other, "subscribe")
        assert {json.loads(one.recv())["channel"] for _ in range(50)} == {LIQUIDATIONS}
        assert {json.loads(other.recv())["channel"] for _ in range(50)} == {BINANCE}


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "{}",
        '{"method":"subscribe","channels":["nonsense"]}',
        '{"method":"subscribe","channels":["futures_trades@Nowhere_BTCUSDT@1"]}',
    ],
)
def test_a_bad_request_is_answered_with_an_error_and_the_connection_stays(url: str, message: str) -> None:
    with _connected(url) as ws:
        ws.send(message)
        assert _reply(ws, "error")["success"] is False
        ws.send("ping")
        assert ws.recv() == "pong"


def test_any_key_will_do_and_another_path_is_not_found(url: str) -> None:
    with _connected(f"{url}?cg-api-key=whatever") as ws:
        assert ws.connected
    with pytest.raises(WebSocketBadStatusException) as refused:
        create_connection(url.replace("/ws-api", "/else"), timeout=10)
    assert refused.value.status_code == 404


def test_a_required_key_is_required_and_never_logged(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret-key\n")
    with _simulate("--require-key", str(tmp_path / "key")) as url:
        for address in (url, f"{url}?cg-api-key=wrong"):
            with pytest.raises(WebSocketBadStatusException) as refused:
                create_connection(address, timeout=10)
            assert refused.value.status_code == 401
        with _connected(f"{url}?cg-api-key=s3cret-key") as ws:
            assert ws.connected


def test_the_rate_is_held_within_15_percent() -> None:
    with _simulate("--rate", "2000") as url, _connected(url, LIQUIDATIONS, BINANCE, GATE) as ws:
        _reply(ws, "subscribe")
        began = time.monotonic()
        count = 0
        while (elapsed := time.monotonic() - began) < 3:
            ws.recv_data()
            count += 1
    assert count / elapsed == pytest.approx(2_000, rel=0.15)


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload.decode())
    except ValueError:
        return False
    return True


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _records(payload: bytes) -> list[dict]:
    return json.loads(payload).get("data", []) if _is_json(payload) else []


VISIBLE: dict[str, Callable[[int, bytes], bool]] = {
    "garbage": lambda opcode, payload: opcode == ABNF.OPCODE_TEXT and _is_utf8(payload) and not _is_json(payload),
    "bad-utf8": lambda opcode, payload: opcode == ABNF.OPCODE_TEXT and not _is_utf8(payload),
    "binary": lambda opcode, payload: opcode == ABNF.OPCODE_BINARY,
    "unknown-channel": lambda _, payload: _is_json(payload) and json.loads(payload).get("channel") not in (None, GATE),
    "unknown-fields": lambda _, payload: any("tradeId" in record for record in _records(payload)),
    "bad-records": lambda _, payload: any(
        r["side"] not in (1, 2) or r["volUsd"] < 0 or r["price"] <= 0 or r["time"] <= 0
        or not all(0 < len(r[name]) <= 64 for name in ("baseAsset", "exName", "symbol"))
        for r in _records(payload)
    ),
    "future-time": lambda _, payload: any(r["time"] > (time.time() + 60) * 1_000 for r in _records(payload)),
    "late": lambda _, payload: any(r["time"] < (time.time() - 60) * 1_000 for r in _records(payload)),
}  # fmt: skip


@pytest.mark.parametrize("name", VISIBLE)
def test_a_spoiled_message_arrives_and_the_feed_goes_on(name: str) -> None:
    with _simulate("--faults", f"{name}:300ms", "--rate", "100") as url, _connected(url, GATE) as ws:
        _until(ws, VISIBLE[name])
        _until(ws, lambda _, payload: _is_json(payload) and json.loads(payload).get("channel") == GATE)


def test_half_open_is_silence_without_pong_and_a_new_connection_is_served() -> None:
    with _simulate("--faults", "half-open:1s", "--rate", "200") as url, _connected(url, GATE) as ws:
        ws.settimeout(0.5)
        with pytest.raises(WebSocketTimeoutException):
            _until(ws, lambda *_: False)
        ws.send("ping")
        with pytest.raises(WebSocketTimeoutException):
            ws.recv()
        with _connected(url, GATE) as again:
            _reply(again, "subscribe")


def test_a_slow_drip_holds_frames_back_for_a_while_and_loses_none() -> None:
    with _simulate("--faults", "slow-drip:1s", "--rate", "100") as url, _connected(url, GATE) as ws:
        _reply(ws, "subscribe")
        longest, ended_ms, after = 0.0, 0.0, []
        while len(after) < 250:  # what was held back for 3 s, with the times at which it was made
            before = time.monotonic()
            frame = json.loads(ws.recv())
            assert frame["channel"] == GATE
            if longest > 2:
                after.append(frame["data"][0]["time"])
            elif (longest := max(longest, time.monotonic() - before)) > 2:
                ended_ms = time.time() * 1_000
    assert longest > 2
    assert sum(made_ms < ended_ms for made_ms in after) > 200


def test_a_burst_comes_at_twenty_times_the_rate() -> None:
    with _simulate("--faults", "burst:1s", "--rate", "50") as url, _connected(url, GATE) as ws:
        _reply(ws, "subscribe")
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 3:
            ws.recv_data()
            count += 1
    assert count > 1_000


def test_all_faults_at_once_do_not_break_the_server() -> None:
    with _simulate("--faults", "all:200ms", "--rate", "300") as url:
        ended = time.monotonic() + 3
        while time.monotonic() < ended:
            with suppress(*LOST), _connected(url, LIQUIDATIONS, GATE) as ws:
                ws.settimeout(0.3)
                _until(ws, lambda *_: False, seconds=1)


def _run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coinglass_streams", "simulate", *flags],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
    )


def test_a_taken_port_is_one_line_and_exit_1() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        done = _run("--port", port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}, it is taken" in done.stderr


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--faults", "fire"], {}),
        (["--faults", "late:soon"], {}),
        ([], {"COINGLASS_FAULTS": "fire"}),
        (["--rate", "0"], {}),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(flags: list[str], environment: dict[str, str]) -> None:
    done = _run(*flags, **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_help_lists_the_faults() -> None:
    told = _run("--help").stdout
    assert all(name in told for name in (*VISIBLE, "disconnect", "half-open", "slow-drip", "burst"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_connections_with_going_away_and_exits_0(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "coinglass_streams", "simulate", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = process.stderr.readline().split("url=")[1].split()[0]
        with _connected(url, LIQUIDATIONS) as ws:
            _reply(ws, "subscribe")
            process.send_signal(number)
            _, payload = _until(ws, lambda opcode, _: opcode == ABNF.OPCODE_CLOSE)
        assert int.from_bytes(payload[:2]) == 1001
        assert process.wait(timeout=10) == 0
