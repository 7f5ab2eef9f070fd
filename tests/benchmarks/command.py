"""What the benches have in common on the command line."""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


def options(doc: str) -> argparse.ArgumentParser:
    """Return a parser of `--broker` and `--json`, for each bench to add to."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", help="host:port; without it an embedded Kafka runs for as long")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def in_a_folder(measure: Callable[[argparse.Namespace, Path], Awaitable[Any]], args: argparse.Namespace) -> Any:
    """Return what a measurement found, that may put what it needs into a folder."""

    async def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return await measure(args, Path(folder))

    return asyncio.run(run())


def save(figures: Any, path: Path | None) -> None:
    """Write figures where they were asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1, default=str) + "\n")
