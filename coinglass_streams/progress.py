"""A progress bar on standard error where that is a terminal; nothing where it is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

#: Takes so many more records, and where in time the work is.
Told = Callable[[int, str], None]


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Told]:
    """Yield what to tell of records that are done; `total` is how many there are, as far as known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _records, _where: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} records"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[where]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=total, rate="", where="")

        def tell(records: int, where: str) -> None:
            bars.update(task, advance=records, where=where)
            speed = bars.tasks[0].speed
            if speed:
                bars.update(task, rate=f"{speed:,.0f}/s")

        yield tell
