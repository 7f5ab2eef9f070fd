"""The demo as its user runs it: one command, and nothing left of it afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest


@contextmanager
def _demo(*flags: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "coinglass_streams", "demo", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Return the lines up to the first that begins so."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(beginning):
            return lines
    raise AssertionError(lines)


def _descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _child(pid: int, subcommand: str) -> int:
    [found] = [
        child
        for child in _descendants(pid)
        if subcommand.encode() in (Path("/proc") / str(child) / "cmdline").read_bytes().split(b"\0")
    ]
    return found


def _assert_gone(pids: set[int], seconds_max: float = 5) -> None:
    deadline = time.monotonic() + seconds_max
    while left := {pid for pid in pids if (Path("/proc") / str(pid)).exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_demo_shows_finals_and_its_dashboard_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with _demo("--seconds", "28", "--data-dir", str(tmp_path)) as process:
        lines = _read_until(process, "dashboard: ")
        with urllib.request.urlopen(f"{lines[-1].removeprefix('dashboard: ')}ready", timeout=10) as response:
            assert response.status == 200
        children = _descendants(process.pid)
        assert len(children) == 3  # Kafka, the worker, the producer
        rest, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    _assert_gone(children)
    # Some may come before the dashboard's line: where a minute has just begun, the first records end a window.
    finals = [line for line in [*lines, *rest.splitlines()] if line.startswith("first final: ")]
    assert any(line.startswith("first final: liquidations 10s ") for line in finals)
    assert any(line.startswith("first final: imbalance 10s ") for line in finals)
    assert str(tmp_path) in lines[0]
    assert rest.splitlines()[-1] == "stopped"
    assert errors == ""
    for name in ("process", "produce", "demo"):
        assert (tmp_path / "logs" / f"{name}.log").stat().st_size
    assert "dropped=0" in (tmp_path / "logs" / "produce.log").read_text()


@pytest.mark.parametrize(("number", "beginning"), [(signal.SIGTERM, "starting Kafka"), (signal.SIGINT, "started: ")])
def test_a_signal_at_any_time_stops_everything_and_exits_0(number: signal.Signals, beginning: str) -> None:
    with _demo() as process:
        lines = _read_until(process, beginning)
        children = _descendants(process.pid)
        process.send_signal(number)
        process.send_signal(number)  # as make does after Ctrl-C
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    _assert_gone(children)
    assert not Path(lines[0].removeprefix("logs and data: ")).exists()


@pytest.mark.parametrize("name", ["process", "produce"])
def test_a_child_that_dies_is_one_line_with_its_log_and_exit_1(name: str, tmp_path: Path) -> None:
    with _demo("--data-dir", str(tmp_path)) as process:
        _read_until(process, "dashboard: ")
        children = _descendants(process.pid)
        os.kill(_child(process.pid, name), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
    _assert_gone(children)
    assert errors.count("\n") == 1
    assert f"{name} ended with status -9: " in errors
    assert str(tmp_path / "logs" / f"{name}.log") in errors


def test_kafkas_death_is_one_line_and_exit_1_without_waiting_for_what_cannot_drain(tmp_path: Path) -> None:
    with _demo("--data-dir", str(tmp_path)) as process:
        _read_until(process, "dashboard: ")
        children = _descendants(process.pid)
        os.kill(_child(process.pid, "kafka.Kafka"), signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
    _assert_gone(children)
    assert errors.count("\n") == 1
    assert "Kafka died with status -9" in errors


def test_nothing_is_left_of_a_demo_that_was_killed(tmp_path: Path) -> None:
    with _demo("--data-dir", str(tmp_path)) as process:
        _read_until(process, "started: ")
        children = _descendants(process.pid)
        assert len(children) == 3
        process.kill()
        process.wait()
    _assert_gone(children)


@pytest.mark.parametrize("part", ["kafka", "feed", "web", "metrics"])
def test_a_taken_port_is_one_line_and_exit_1(part: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        with _demo(f"--port-{part}", port) as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"port {port} " in errors
    assert f"--port-{part}" in errors


@pytest.mark.parametrize("flags", [["--faults", "fire"], ["--window", "soon"], ["--port-web", "8", "--port-feed", "8"]])
def test_bad_usage_is_one_line_and_exit_2(flags: list[str]) -> None:
    with _demo(*flags) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert errors.count("\n") == 1
