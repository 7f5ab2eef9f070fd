"""What each engine is started with."""

import json
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import decoders
from processes import free_port

HERE = pathlib.Path(__file__).parent
PROJECT = HERE.parents[2]
ENGINES = (
    "kafka-streams-eos",
    "kafka-streams-eos-2t",
    "flink-sql-eos",
    "flink-sql-eos-2t",
    "quix-eos",
    "bytewax",
    "naive-faust",
    "ours",
    "ours-1w",
    "bare-loop",
)


@dataclass(frozen=True)
class Start:
    """How one run of an engine is started, and where its finals are to be found."""

    command: list[str]
    sinks: list[str]
    decode: Callable[[Any], Any] | None = None  # of a sink's message; None for an engine without finals
    sources: list[str] = field(default_factory=list)  # one for all frames, or liquidations' and trades'
    cwd: pathlib.Path = HERE / "peers"
    env: dict[str, str] = field(default_factory=dict)

    def topic_of(self, channel):
        """Return the topic that a channel's frames go to."""
        return self.sources[0 if channel == "liquidationOrders" else -1]


def check(engines):
    """End with one line where an engine is unknown, or needs what this machine does not have."""
    for engine in engines:
        if engine not in ENGINES:
            raise SystemExit(f"no such engine: {engine}; choose from {', '.join(ENGINES)}")
        if engine.startswith(("kafka-streams", "flink")):
            absent = [tool for tool in ("mvn", "java") if shutil.which(tool) is None]
            if absent:
                raise SystemExit(f"{engine} needs {' and '.join(absent)}: install Maven and a JDK 17, or leave it out")


def engine_start(engine, broker, run_id, work, settings, state):
    """Return how to start an engine; `settings` are those of `ours.json`, `work` keeps what is built once."""
    if engine.startswith("ours") or engine == "bare-loop":
        return _of_this_project(engine, broker, run_id, settings, state)
    source, sink = f"{run_id}.frames", f"{run_id}.finals"
    place = [broker, source, sink]
    if engine.startswith(("kafka-streams", "flink")):
        command, decode = _java(engine, place, work, state)
    elif engine == "bytewax":
        command, decode = [sys.executable, "bytewax_peer.py", *place, str(state)], decoders.flink
    elif engine == "quix-eos":
        command, decode = [sys.executable, "quix_peer.py", *place, str(state)], decoders.quix
    else:
        command, decode = [sys.executable, "-m", "faust", "-A", "naive_faust", "worker", "-l", "error"], None
    env = {"BROKER": broker, "SOURCE": source, "STATE_DIR": str(state), "APP_ID": run_id, "WEB_PORT": str(free_port())}
    return Start(command, [sink], decode, [source], env=env if engine == "naive-faust" else {})


def _java(engine, place, work, state):
    threads = "2" if engine.endswith("2t") else "1"
    if engine.startswith("kafka-streams"):
        classes = _built("kafka_streams", work)
        command = ["java", "-Xmx2g", "-cp", classes, "Peer", *place, "exactly_once_v2", threads, str(state)]
        return command, decoders.kafka_streams
    opened = [f"--add-opens=java.base/java.{part}=ALL-UNNAMED" for part in ("lang", "util", "time")]
    flags = ["-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *opened]
    command = ["java", *flags, "-cp", _built("flink", work), "Peer", *place, threads, "hashmap", str(state)]
    return command, decoders.flink


def _built(project, work):
    """Return the classpath of a Maven project under peers/, built once a run."""
    build = work / project
    if not build.exists():
        shutil.copytree(HERE / "peers" / project, build, ignore=shutil.ignore_patterns("target"))
        goals = ["compile", "dependency:copy-dependencies", "-DoutputDirectory=target/libs"]
        subprocess.run(["mvn", "-q", *goals], cwd=build, check=True)
    return f"{build}/target/classes:{build}/target/libs/*"


def _of_this_project(engine, broker, run_id, settings, state):
    names = {name: settings[name].format(prefix=run_id) for name in _TOPICS}
    sources, sinks = [names[name] for name in _TOPICS[:2]], [names[name] for name in _TOPICS[2:]]
    if engine == "bare-loop":
        python = str(PROJECT / ".venv/bin/python")
        command = [python, "-m", "tests.benchmarks.bare_loop", "--broker", broker, "--json", str(state / "bare.json")]
        return Start([*command, *sources], [], None, sources, PROJECT)
    cwd = pathlib.Path(settings["cwd"]).resolve()
    workers = 1 if engine.endswith("-1w") else settings["workers"]
    place = {"broker": broker, "prefix": run_id, "app_id": run_id}
    each = [place | {"n": n, "state_dir": f"{state}/{n}", "web_port": free_port()} for n in range(workers)]
    lines = [shlex.join(part.format(**own) for part in settings["command"]) for own in each]
    shell = ["/bin/sh", "-c", "".join(f"{line} & " for line in lines) + "wait"]
    return Start(shell, sinks, decoders.ours(cwd / settings["schemas"]), sources, cwd)


_TOPICS = ("raw_liquidations", "raw_trades", "liquidation_volume", "trade_imbalance")


def read_settings(path):
    """Read `ours.json`, or another file like it."""
    return json.loads(pathlib.Path(path).read_text())
