"""The command as it is typed: every expected failure is one line and the right exit status."""

import os
import subprocess
import sys

import pytest


def run(*args, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
    return subprocess.run(
        [sys.executable, "-m", "coinglass_streams", *args],
        capture_output=True, text=True, timeout=60, env={**clean, **environment}, check=False,
    )  # fmt: skip


WRONG = {
    "no subcommand": ([], {}, "Missing command"),
    "an unknown subcommand": (["fly"], {}, "No such command 'fly'"),
    "an unknown flag": (["process", "--fly"], {}, "--fly"),
    "a window that is none": (["process", "--window", "5"], {}, "'5' is not a duration"),
    "the same window twice": (["process", "--window", "60s", "--window", "1m"], {}, "are the same window"),
    "no length of window": (["process", "--window", "0s"], {}, "at least 1ms"),
    "a broker without a port": (["topics", "--broker", "localhost"], {}, "write host:port"),
    "a broker by environment": (["topics"], {"COINGLASS_BROKER": "nowhere"}, "COINGLASS_BROKER"),
    "a prefix that cannot be": (["topics", "--topic-prefix", "a b"], {}, "cannot begin a topic's name"),
    "a configuration that is not there": (["topics", "--config", "/nowhere.toml"], {}, "/nowhere.toml"),
    "an app id that cannot be": (["process", "--app-id", "a b"], {}, "--app-id"),
    "an endless grace": (["process", "--grace", "2h"], {}, "at most 1h"),
    "a registry that is no address": (["schemas", "--schema-registry", "here"], {}, "http://host:port"),
    "a feed that is no address": (["doctor", "--url", "http://here"], {}, "ws://host:port/path"),
}


@pytest.mark.parametrize(("args", "environment", "says"), WRONG.values(), ids=WRONG)
def test_bad_usage_is_one_line_that_says_what_to_do_and_status_2(args, environment, says):
    done = run(*args, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["topics", "process", "produce"])
def test_without_a_broker_there_is_one_line_and_status_1(command):
    flags = ["--url", "ws://127.0.0.1:1/"] if command == "produce" else []
    done = run(command, "--broker", "127.0.0.1:1", *flags)
    assert done.returncode == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_configuration_file_sets_defaults_for_all_and_for_one(tmp_path):
    path = tmp_path / "streams.toml"
    path.write_text('broker = "127.0.0.1:1"\nlog-level = "error"\n[process]\nwindow = ["1m", "5x"]\n')
    assert "'5x' is not a duration" in run("process", "--config", str(path)).stderr
    assert "'7x' is not a duration" in run("process", "--config", str(path), "--window", "7x").stderr
    path.write_text('grace = "1x"  # for process alone, and no bar to topics\n')
    assert "no Kafka broker" in run("topics", "--config", str(path), "--broker", "127.0.0.1:1").stderr


@pytest.mark.parametrize("text", ['[process]\nwindoow = ["1m"]\n', 'windoow = "1m"\n', "[proces]\n", "window = \n"])
def test_a_configuration_with_a_slip_is_refused(tmp_path, text):
    path = tmp_path / "streams.toml"
    path.write_text(text)
    wrong = run("process", "--config", str(path))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert str(path) in wrong.stderr


def test_the_environment_goes_before_the_file_and_a_flag_before_both(tmp_path):
    path = tmp_path / "streams.toml"
    path.write_text('grace = "1x"\n')
    assert "'2x'" in run("process", "--config", str(path), COINGLASS_GRACE="2x").stderr
    assert "'3x'" in run("process", "--config", str(path), "--grace", "3x", COINGLASS_GRACE="2x").stderr


def test_every_subcommand_explains_its_flags_and_their_variables():
    listed = run("--help").stdout
    for command in ("demo", "kafka", "simulate", "produce", "process", "topics", "schemas", "doctor"):
        assert command in listed
        help_text = run(command, "--help")
        assert help_text.returncode == 0
        assert "COINGLASS_" in help_text.stdout
