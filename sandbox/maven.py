"""Maven artifacts as local files: downloaded once with jgo, then read from Maven's usual cache, also without a network.

The cache is `M2_REPO`, or `~/.m2/repository`. Several processes may ask at the same time.
"""

import asyncio
import fcntl
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

import structlog
from jgo.maven import MavenContext, PythonResolver

from schemas.errors import OperationError

TIMEOUT_SECONDS = 30  # without a byte, for one file
TRIES_MAX = 3

#: How jgo fails: RuntimeError where a file is nowhere, OSError (the network's too), ParseError for what came instead.
FAILURES = (RuntimeError, OSError, ParseError)

T = TypeVar("T")
log = structlog.get_logger()


class WholeFilesResolver(PythonResolver):
    """jgo's own resolver, except that a file appears in the cache only once it is whole.

    jgo writes into the cache as the bytes come, and takes any file there for a good one: a download that was cut off
    would break every later start.
    """

    def download(self, artifact: Any) -> Path:
        """Download next to the cache, then move into place; tries again when the network fails."""
        context = artifact.context
        staging: Any = MavenContext(
            repo_cache=_staging_folder(context), remote_repos=context.remote_repos, timeout=context.timeout
        )
        component = staging.project(artifact.groupId, artifact.artifactId).at_version(artifact.version)
        staged = component.artifact(artifact.classifier, artifact.packaging)
        partial, whole = Path(staged.cached_path), Path(artifact.cached_path)
        for tries_left in reversed(range(TRIES_MAX)):
            partial.unlink(missing_ok=True)
            try:
                super().download(staged)
                break
            except OSError:
                if not tries_left:
                    raise
                time.sleep(1)
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(whole)
        return whole


async def resolve_jars(*coordinates: str) -> list[Path]:
    """Return the jars of these artifacts (`group:artifact:version`) with all that they need to run.

    Raises OperationError where something is not in the cache and cannot be downloaded.
    """
    return await _in_thread(lambda: _cached_or_downloaded(coordinates, lambda context: _jars(context, coordinates)))


async def resolve_file(coordinate: str, classifier: str, packaging: str) -> Path:
    """Return one file of an artifact, such as its `tar.gz`, alone. Raises OperationError as `resolve_jars` does."""

    def file(context: Any) -> Path:
        component = context.create_dependency(coordinate).artifact.component
        path: Path = component.artifact(classifier, packaging).resolve()
        return path

    return await _in_thread(lambda: _cached_or_downloaded([coordinate], file))


def _jars(context: Any, coordinates: Sequence[str]) -> list[Path]:
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    for dependency in wanted:
        dependency.raw = True  # else jgo lets each artifact's own build choose versions for all the others' jars
    found, needed = context.resolver.resolve(wanted)
    return [dependency.artifact.resolve() for dependency in (*found, *needed)]


def _cached_or_downloaded(coordinates: Sequence[str], resolve: Callable[[Any], T]) -> T:
    """Resolve from the cache alone, which needs no lock; where that fails, with the network, one process at a time."""
    with suppress(*FAILURES):
        return resolve(MavenContext(resolver=WholeFilesResolver(), offline=True))
    context = MavenContext(resolver=WholeFilesResolver(), timeout=TIMEOUT_SECONDS)
    what = " and ".join(coordinates)
    log.info("maven.downloading", artifacts=what, cache=str(context.repo_cache))
    try:
        with _lock(context):
            return resolve(context)
    except FAILURES as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" …")
        raise OperationError(
            f"{what} is not in {context.repo_cache} and cannot be downloaded: connect this machine to the network "
            f"once, or set M2_REPO to a folder that has it and can be written ({reason})"
        ) from error


@contextmanager
def _lock(context: Any) -> Iterator[None]:
    """Hold the cache for this process alone; the system lets go of it if we die."""
    context.repo_cache.mkdir(parents=True, exist_ok=True)
    with (context.repo_cache / ".coinglass-streams.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            shutil.rmtree(_staging_folder(context), ignore_errors=True)  # what a killed process left, too


def _staging_folder(context: Any) -> Path:
    """Where downloads grow: in the cache, so that moving a file into place is atomic."""
    folder: Path = context.repo_cache / ".coinglass-streams.partial"
    return folder


async def _in_thread(work: Callable[[], T]) -> T:
    """Await `work` in a daemon thread: unlike asyncio's own, one in a long download does not hold up an exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(finish: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            finish(outcome)

    def run() -> None:
        finish: Callable[[Any], None]
        try:
            outcome: Any = work()
            finish = future.set_result
        except BaseException as error:  # noqa: BLE001 - not swallowed: raised where the work is awaited
            outcome, finish = error, future.set_exception
        with suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(deliver, finish, outcome)

    threading.Thread(target=run, name="maven", daemon=True).start()
    return await future
