"""What both storms do on the command line, and before they begin."""

import asyncio
import dataclasses
import logging
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tests.fault import netns
from tests.fault.feed.settings import FeedStormSettings
from tests.fault.report import Outcome
from tests.fault.settings import StormSettings

Settings = TypeVar("Settings", StormSettings, FeedStormSettings)


def possible(settings: Settings, report: Outcome) -> Settings:
    """Leave out the blows that cannot be dealt here, and say so."""
    why = netns.why_impossible() if "netcut" in settings.blows else None
    if why is None:
        return settings
    report.left_out.append(f"netcut: {why}")
    return dataclasses.replace(settings, blows=tuple(blow for blow in settings.blows if blow != "netcut"))


def run_and_tell(name: str, keep: Path | None, storm: Callable[[Path], Awaitable[Outcome]]) -> None:
    """Run a storm, print its report and exit; data and logs stay in `keep`, or where it failed."""
    folder = keep or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    # What our own clients say of brokers that are down is no news here.
    logging.basicConfig(filename=folder / "storm.log", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        report = asyncio.run(storm(folder))
    except BaseException:
        print(f"the storm itself failed; data and logs are in {folder}", file=sys.stderr)
        raise
    (folder / "blows.log").write_text(report.story())
    print(report.table())
    if report.passed and keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  data and logs  {folder}")
    print(report.line())
    sys.exit(0 if report.passed else 1)
