# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.11.2"]
# ///
"""Draw what the benchmarks wrote, as SVG; a figure whose JSON is not there is left as it is.

    uv run tests/benchmarks/charts.py

The same figures give the same bytes: no date, fixed ids, and one version of matplotlib.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

PROJECT = Path(__file__).parents[2]
STYLE = {
    "svg.hashsalt": "coinglass-streams",
    "svg.fonttype": "none",  # text stays text: small, and the same whatever fonts there are
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.facecolor": "white",
}
OURS, OTHER, LIMIT = "#2066a8", "#9aa5b1", "#d9822b"


def engines(report):
    """Frames a second of each engine, and the CPU that a million took."""
    rows = [row for row in report["engines"] if row["frames_per_s"]]
    rows.sort(key=lambda row: row["frames_per_s"])
    names = [row["engine"] for row in rows]
    colours = [_colour(name) for name in names]
    figure, (speed, cpu) = plt.subplots(1, 2, figsize=(10, 0.45 * len(rows) + 1.4), sharey=True)
    _bars(speed, names, [row["frames_per_s"] / 1e3 for row in rows], colours, "thousand frames/s")
    _bars(cpu, names, [row["cpu_s_per_million"] or 0 for row in rows], colours, "CPU seconds a million frames")
    asked = report["asked"]
    figure.suptitle(f"{asked['frames']:,} frames, median of {asked['rounds']} round{'s'[: asked['rounds'] > 1]}")
    return figure


def _bars(axes, names, values, colours, label):
    axes.bar_label(axes.barh(names, values, color=colours), fmt="{:,.1f}", padding=3)
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.18)


def _colour(engine):
    if engine == "bare-loop":
        return LIMIT
    return OURS if engine.startswith("ours") else OTHER


def growth(report):
    """Microseconds a frame, by stage, as channels, windows and records a frame grow."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6))
    labels = {"channels": "channels", "windows": "windows", "records": "records a frame"}
    stages = ("process", "take", "batches")
    for axes, (what, label) in zip(panels, labels.items(), strict=True):
        rows = [row for row in report if row["what"] == what]
        sizes = [row["size"] for row in rows]
        costs = [[row[f"{stage}_us_per_frame"] for row in rows] for stage in stages]
        axes.stackplot(sizes, costs, labels=stages, colors=(OURS, LIMIT, OTHER))
        axes.set_xlabel(label)
        axes.set_ylim(bottom=0)
        if what == "channels":
            axes.set_xscale("log")
    panels[0].set_ylabel("µs of CPU a frame")
    panels[0].legend(loc="upper left")
    return figure


def memory(report):
    """Resident memory of a worker over the frames it has taken."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    longest, *others = report
    for axes, runs in zip(panels, ([longest], others), strict=True):
        for run in runs:
            samples = run["samples"]
            frames = [sample["frames"] / 1e6 for sample in samples]
            axes.plot(frames, [sample["rss_mb"] for sample in samples], label=f"{run['channels']:,} channels")
        axes.set_xlabel("million frames")
        axes.set_ylim(bottom=0)
        if runs:
            axes.legend(loc="lower right")
    panels[0].set_ylabel("resident memory, MB")
    return figure


def latency(report):
    """How long a record takes until it can be read, and a window's end until its final can."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6))
    titles = {"visible_ms": "record to table", "final_ms": "window's end to its final"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        values = sorted(report.get(name, []))
        if not values:
            continue
        highest = values[int(len(values) * 0.999)] or 1  # else one straggler makes all the rest one bar
        axes.hist(values, bins=60, range=(0, highest), color=OURS)
        for share in (0.5, 0.99):
            at = values[int((len(values) - 1) * share)]
            axes.axvline(at, color=LIMIT, label=f"p{share * 100:g} {at:.1f} ms")
        axes.set_xlabel(f"{title}, ms")
        axes.legend()
    return figure


FIGURES = {
    "engines": ("side_by_side", engines),
    "growth": ("growth", growth),
    "memory": ("growth_worker", memory),
    "latency": ("latency", latency),
}


def main():
    """Draw every figure that there is a report for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=Path, default=PROJECT / "build/benchmarks")
    parser.add_argument("--figures", type=Path, default=PROJECT / "docs/figures")
    given = parser.parse_args()
    given.figures.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update(STYLE)
    for name, (report, draw) in FIGURES.items():
        path = given.reports / f"{report}.json"
        if not path.exists():
            print(f"{name}: no {path.name}, left as it is")
            continue
        figure = draw(json.loads(path.read_text()))
        figure.tight_layout()
        figure.savefig(given.figures / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
        print(f"{name}: drawn")


if __name__ == "__main__":
    main()
