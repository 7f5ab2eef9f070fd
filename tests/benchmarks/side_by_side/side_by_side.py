# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "aiokafka==0.14.0",
#     "bytewax>=0.21",
#     "confluent-kafka>=2.12",
#     "fastavro",
#     "faust-streaming==0.15.3",
#     "orjson",
#     "quixstreams>=3.28",
# ]
# ///
"""Run engines side by side on the same frames and print one table. See README.md; `--json FILE` keeps the figures."""

import argparse
import json
import pathlib
import shutil
import tempfile
import time

import oracle
import watch
from engines import ENGINES, PROJECT, check, engine_start, read_settings
from frames import frames
from load import delete_topics, load, make_topics
from processes import start, stop, used
from report import summary, table, write

from broker import broker

HERE = pathlib.Path(__file__).parent


class Bench:
    """One set of frames, and the runs of engines over it."""

    def __init__(self, address, asked, work):
        self._broker, self._limit_s, self._work = address, asked.limit_s, work
        self._settings = read_settings(asked.ours)
        self._lines = list(frames(asked.frames, asked.seed))
        self._expected, self._weights = oracle.totals(self._lines), oracle.weights(self._lines)

    def run(self, engine):
        """Load topics of the run's own, start the engine, watch it to its last final, and stop it."""
        run_id = f"bench-{engine}-{time.time_ns() // 1_000_000}"
        state = self._work / run_id
        state.mkdir()
        how = engine_start(engine, self._broker, run_id, self._work, self._settings, state)
        make_topics(self._broker, *how.sources, *how.sinks)
        load(self._broker, self._lines, how.topic_of)
        log_path = self._work / f"{run_id}.log"
        with log_path.open("w") as log:
            began = time.perf_counter()
            process = start(how.command, how.env, how.cwd, log)
            try:
                measured = self._watched(engine, how, process, began, state)
            finally:
                stop(process)
                delete_topics(self._broker, run_id)
                shutil.rmtree(state, ignore_errors=True)
        return {"engine": engine} | (measured or {"frames_per_s": 0.0, "right": f"no finals: see {log_path}"})

    def _watched(self, engine, how, process, began, state):
        if engine == "bare-loop":
            return self._bare(process, state)
        if how.decode is None:
            group, total = how.env["APP_ID"], len(self._lines)
            rate = watch.committed_rate(self._broker, group, how.sources[0], total, process, self._limit_s)
            return {"frames_per_s": rate, "right": "no finals"}
        seen = watch.finals(self._broker, how.sinks, how.decode, self._expected, process, self._limit_s)
        if not seen.arrivals:
            return None
        return {
            "frames_per_s": watch.frames_per_second(seen, self._weights),
            "first_final_s": seen.arrivals[0][0] - began,
            "drain_s": seen.arrivals[-1][0] - began,
            "cpu_s": seen.used.cpu_s,
            "rss_mb": seen.used.rss_mb,
            "right": oracle.verdict(seen.finals, self._expected, seen.repeats),
        }

    def _bare(self, process, state):
        """The bare loop measures itself, and waits to be stopped so that it can be measured from outside too."""
        report, deadline = state / "bare.json", time.monotonic() + self._limit_s
        while not report.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                return None
            time.sleep(0.05)
        own = json.loads(report.read_text())
        found = {(name, start_ms): cell for name, start_ms, cell in own["cells"] if (name, start_ms) in self._expected}
        return {
            "frames_per_s": own["frames"] / own["seconds"],
            "drain_s": own["since_start_s"],
            "cpu_s": own["cpu_since_start_s"],
            "loop_cpu_s": own["cpu_s"],
            "rss_mb": used(process.pid).rss_mb,
            "right": oracle.verdict(found, self._expected, 0),
        }


def asked_for():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=ENGINES, metavar="ENGINE", help=" ".join(ENGINES))
    parser.add_argument("--broker", help="host:port; without it an embedded Kafka runs for as long as the bench does")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--rounds", type=int, default=1, help="run the engines in turn this many times, show the median"
    )
    parser.add_argument("--limit-s", type=float, default=150, help="for one run of one engine")
    parser.add_argument("--ours", type=pathlib.Path, default=HERE / "ours.json")
    parser.add_argument("--json", type=pathlib.Path)
    asked = parser.parse_args()
    check(asked.engines)
    return asked


def main():
    """Run what was asked for."""
    asked, rounds = asked_for(), []
    work = pathlib.Path(tempfile.mkdtemp(prefix="side-by-side-"))
    with broker(asked.broker, str(PROJECT / ".venv/bin/coinglass-streams")) as address:
        bench = Bench(address, asked, work)
        for number in range(asked.rounds):
            for engine in asked.engines:
                result = {"round": number, **bench.run(engine)}
                rounds.append(result)
                print("…", json.dumps(result), flush=True)
    rows = summary(rounds, asked.engines, asked.frames)
    print(f"\nMedians of {asked.rounds} rounds, {asked.frames:,} frames, seed {asked.seed}:\n\n{table(rows)}")
    if asked.json:
        write(asked.json, rows, rounds, {"frames": asked.frames, "seed": asked.seed, "rounds": asked.rounds})


if __name__ == "__main__":
    main()
