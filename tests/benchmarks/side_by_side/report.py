"""The rounds' medians, as a table and as JSON."""

import json
import pathlib
import statistics

COLUMNS = "engine | frames/s | of the first | of bare-loop | first final s | drain s | CPU s/million | peak MB | right"


def summary(rounds, engine_names, frames):
    """Return a row for each engine: medians over the rounds; `right` only if every round was."""
    return [_row(name, [run for run in rounds if run["engine"] == name], frames) for name in engine_names]


def _row(name, runs, frames):
    def median(of):
        values = [run[of] for run in runs if run.get(of) is not None]
        return statistics.median(values) if values else None

    verdicts = [run["right"] for run in runs]
    cpu_s = median("cpu_s")
    return {
        "engine": name,
        "frames_per_s": median("frames_per_s"),
        "first_final_s": median("first_final_s"),
        "drain_s": median("drain_s"),
        "cpu_s_per_million": None if cpu_s is None else cpu_s / frames * 1e6,
        "peak_rss_mb": median("rss_mb"),
        "right": next((verdict for verdict in verdicts if verdict != "yes"), "yes"),
    }


def table(rows):
    """Return the rows as a Markdown table."""
    bare = next((row["frames_per_s"] for row in rows if row["engine"] == "bare-loop"), None)
    lines = [f"| {COLUMNS} |", "|" + "---|" * len(COLUMNS.split("|"))]
    for row in rows:
        rate = row["frames_per_s"]
        cells = [
            row["engine"],
            f"{rate:,.0f}",
            _ratio(rate, rows[0]["frames_per_s"]),
            _ratio(rate, bare),
            _number(row["first_final_s"], ".1f"),
            _number(row["drain_s"], ".1f"),
            _number(row["cpu_s_per_million"], ".1f"),
            _number(row["peak_rss_mb"], ".0f"),
            row["right"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(rate, of):
    return f"{rate / of:.2f}" if of else ""


def _number(value, form):
    return "" if value is None else format(value, form)


def write(path, rows, rounds, asked):
    """Keep the figures, every round's too."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figures = {"asked": asked, "engines": rows, "rounds": rounds}
    pathlib.Path(path).write_text(json.dumps(figures, indent=1) + "\n")
