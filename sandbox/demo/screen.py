"""How the demo looks: plain lines for a pipe or a file, a live display for a terminal."""

from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sandbox.demo.finals import Final, Kind
from sandbox.demo.numbers import Numbers
from sandbox.demo.settings import DemoSettings

_KEPT = 400
_ROWS_MAX = 8
_LINES_AROUND = 16  # of the picture, that are not rows of its two tables
_STATUS_EVERY_S = 10.0


def final_line(final: Final) -> str:
    """Return a final on one line, times in UTC, volumes in USD."""
    v = final.values
    coverage = "unknown" if v["coverage"] is None else f"{v['coverage']:.0%}"
    if final.kind == "liquidations":
        what = f"long ${v['long_usd']:,.0f}, short ${v['short_usd']:,.0f}, largest ${v['largest_usd']:,.0f}"
    else:
        what = f"bought ${v['buy_usd']:,.0f}, sold ${v['sell_usd']:,.0f}, imbalance {v['imbalance']:+.2f}"
    when = f"{final.start:%H:%M:%S}-{final.end:%H:%M:%S}"
    return f"{final.kind} {final.window} {final.subject} {when}: {what}, coverage {coverage}"


def status_line(numbers: Numbers) -> str:
    """Return the numbers on one line; what is not known is a dash."""
    parts = (
        ("frames/s", numbers.frames_per_s, ",.0f"),
        ("frames", numbers.frames, ",.0f"),
        ("lag", numbers.lag_records, ",.0f"),
        ("watermark behind by s", numbers.watermark_delay_s, ".1f"),
        ("dead letters", numbers.dead_letters, ",.0f"),
        ("late", numbers.late, ",.0f"),
        ("reconnects", numbers.reconnects, ",.0f"),
    )
    return "  ".join(f"{name} {'-' if value is None else format(value, form)}" for name, value, form in parts)


class PlainScreen:
    """Lines: notes, the first final of each kind and window, and the numbers every 10 s."""

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        self._first: set[tuple[Kind, str]] = set()
        self._status_at_s = 0.0

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to clear."""

    def note(self, line: str) -> None:
        """Show a line that stays."""
        click.echo(line)

    def finals(self, finals: Iterable[Final]) -> None:
        """Show those that are the first of their kind and window."""
        for final in finals:
            if (final.kind, final.window) not in self._first:
                self._first.add((final.kind, final.window))
                self.note(f"first final: {final_line(final)}")

    def numbers(self, numbers: Numbers) -> None:
        """Show the numbers now and then, once the worker is ready."""
        if numbers.ready and numbers.at_s >= self._status_at_s + _STATUS_EVERY_S:
            self._status_at_s = numbers.at_s
            self.note(status_line(numbers))


class LiveScreen(PlainScreen):
    """The same lines, and below them the numbers and the newest finals, drawn anew four times a second."""

    def __init__(self, settings: DemoSettings, console: Console) -> None:
        super().__init__(settings)
        self._console = console
        self._newest: dict[Kind, deque[Final]] = {"liquidations": deque(maxlen=_KEPT), "imbalance": deque(maxlen=_KEPT)}
        self._numbers = Numbers()
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.picture)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture as it is."""
        self._live.stop()

    def note(self, line: str) -> None:
        """Show a line above the picture."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def finals(self, finals: Iterable[Final]) -> None:
        """Keep them for the picture."""
        finals = list(finals)
        super().finals(finals)
        for final in finals:
            self._newest[final.kind].append(final)

    def numbers(self, numbers: Numbers) -> None:
        """Keep them for the picture."""
        self._numbers = numbers

    def picture(self) -> Group:
        """Return what is drawn: the dashboard's address, the numbers, the newest finals with the largest first."""
        head = Text.assemble(("dashboard  ", "bold"), (self.settings.dashboard, "bold cyan underline"))
        where = Text(f"logs and data in {self.settings.data_dir}; Ctrl-C stops everything", style="dim")
        return Group(Text(), head, Text(status_line(self._numbers)), self._liquidations(), self._imbalances(), where)

    def _rows(self, kind: Kind) -> list[Final]:
        rows = max(1, min(_ROWS_MAX, (self._console.height - _LINES_AROUND) // 2))
        return sorted(self._newest[kind], key=lambda f: (f.end, f.total_usd), reverse=True)[:rows]

    def _liquidations(self) -> Table:
        table = _table("Liquidations, final", "asset", "long $", "short $", "largest $", "coverage")
        for final in self._rows("liquidations"):
            v = final.values
            table.add_row(
                final.window,
                f"{final.end:%H:%M:%S}",
                final.subject,
                f"[red]{v['long_usd']:,.0f}[/]",
                f"[green]{v['short_usd']:,.0f}[/]",
                f"{v['largest_usd']:,.0f}",
                _coverage(v["coverage"]),
            )
        return table

    def _imbalances(self) -> Table:
        table = _table("Trade imbalance, final", "market", "bought $", "sold $", "imbalance", "coverage")
        for final in self._rows("imbalance"):
            v = final.values
            colour = "green" if v["imbalance"] > 0 else "red"
            table.add_row(
                final.window,
                f"{final.end:%H:%M:%S}",
                final.subject,
                f"{v['buy_usd']:,.0f}",
                f"{v['sell_usd']:,.0f}",
                f"[{colour}]{v['imbalance']:+.3f}[/]",
                _coverage(v["coverage"]),
            )
        return table


def _table(title: str, subject: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    for name in ("window", "end (UTC)", subject):
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _coverage(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
