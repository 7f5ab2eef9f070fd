"""All checks of a setup, looked at side by side and told in the order of the data's way.

Each look has its own bound on time, and what it fails of is told in its own line; the others go on. What needs a broker
waits for the broker's own look.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import TypeVar, cast

from aiokafka.errors import KafkaError

from coinglass_streams.doctor.cluster import ClusterSeen, judge_cluster
from coinglass_streams.doctor.disk import judge_disk, look_at_disk
from coinglass_streams.doctor.drift import judge_drift
from coinglass_streams.doctor.feed import FeedSeen, judge_channels, judge_clock, judge_connection
from coinglass_streams.doctor.feed_look import look_at_feed
from coinglass_streams.doctor.findings import Finding, Level, Trouble, so_long
from coinglass_streams.doctor.group import judge_group
from coinglass_streams.doctor.kafka_look import look_at_cluster, look_at_group, look_at_raw, look_at_topics
from coinglass_streams.doctor.key import judge_key
from coinglass_streams.doctor.marks import RawSeen, judge_marks
from coinglass_streams.doctor.settings import CONNECT_TIMEOUT_MS, DoctorSettings
from coinglass_streams.doctor.topics import TopicSeen, judge_topics, merged
from schemas.errors import OperationError
from schemas.topics import TopicSpec

#: The longest that each look takes. The feed's has a connection and its handshake to wait for, and listens besides.
LOOK_MS_MAX = 8_000
FEED_MS_MAX = 2 * CONNECT_TIMEOUT_MS + 2_000

T = TypeVar("T")


async def examine(settings: DoctorSettings, tell: Callable[[Finding], object]) -> None:
    """Look at everything, and tell each finding as soon as it and all before it are known."""
    async with asyncio.TaskGroup() as looks:
        feed = looks.create_task(_look_at_feed(settings))
        cluster = looks.create_task(_bounded(look_at_cluster(settings.bootstrap)))
        names = [spec.name for spec in _specs(settings)]
        topics = looks.create_task(_after(cluster, lambda: look_at_topics(settings.bootstrap, names)))
        raw = looks.create_task(_after(cluster, lambda: look_at_raw(settings.bootstrap, settings.topics)))
        group = looks.create_task(_look_at_group(settings, cluster))
        registry = looks.create_task(_look_at_registry(settings))
        disk = looks.create_task(_bounded(_in_thread(lambda: look_at_disk(settings.folders))))

        def told(findings: Iterable[Finding]) -> None:
            for finding in findings:
                tell(finding)

        told([judge_key(settings.key, needed=settings.feed is None)])
        told(_about_feed(settings, await feed))
        told(_judged("broker", await cluster, lambda seen: judge_cluster(settings.bootstrap, seen)))
        told(_about_topics(settings, await cluster, await topics))
        told(_judged("marks", await raw, lambda seen: judge_marks(seen, settings.mark_every.ms)))
        told(await group)
        told(await registry)
        told(_about_drift(await feed, await raw))
        told(_judged("disk", await disk, judge_disk))


async def _look_at_feed(settings: DoctorSettings) -> FeedSeen | Trouble:
    feed = settings.feed
    if feed is None:
        return Trouble("not tried without an API key", level=Level.SKIP)
    listen_ms = settings.listen.ms
    return await _bounded(_in_thread(lambda: look_at_feed(feed, listen_ms)), FEED_MS_MAX + listen_ms)


async def _look_at_group(settings: DoctorSettings, cluster: Awaitable[ClusterSeen | Trouble]) -> Sequence[Finding]:
    app_id = settings.app_id
    if app_id is None:
        return [Finding("group", Level.SKIP, "no --app-id is given")]
    seen = await _after(cluster, lambda: look_at_group(settings.bootstrap, settings.topics, app_id))
    return _judged("group", seen, lambda seen: judge_group(app_id, seen))


async def _look_at_registry(settings: DoctorSettings) -> Sequence[Finding]:
    url = settings.schema_registry
    if url is None:
        return [Finding("registry", Level.SKIP, "no --schema-registry is given: values are in single-object encoding")]
    from coinglass_streams.doctor.registry import judge_registry, look_at_registry  # its client takes long to import

    seen = await _bounded(look_at_registry(url, settings.topics, settings.window_sizes))
    return _judged("registry", seen, lambda seen: judge_registry(url, seen))


def _about_feed(settings: DoctorSettings, seen: FeedSeen | Trouble) -> Sequence[Finding]:
    if isinstance(seen, Trouble):
        return [seen.finding("connection"), *(_unseen(check, "no connection") for check in ("channels", "clock"))]
    assert settings.feed is not None
    return [
        judge_connection(settings.feed.place, seen),
        *judge_channels(settings.channels, seen),
        judge_clock(seen, settings.mark_delay.ms),
    ]


def _about_topics(
    settings: DoctorSettings, cluster: ClusterSeen | Trouble, topics: Mapping[str, TopicSeen] | Trouble
) -> Sequence[Finding]:
    if isinstance(cluster, Trouble):
        return [_unseen("topics", "no broker")]
    nodes = len(cluster.nodes)
    return _judged("topics", topics, lambda seen: judge_topics(settings.bootstrap, _specs(settings), seen, nodes))


def _about_drift(feed: FeedSeen | Trouble, raw: RawSeen | Trouble) -> Sequence[Finding]:
    return judge_drift(
        None if isinstance(feed, Trouble) else feed.drift,
        None if isinstance(raw, Trouble) else raw.drift,
    )


def _specs(settings: DoctorSettings) -> Sequence[TopicSpec]:
    return merged((*settings.topics.raw_specs(), *settings.topics.result_specs(settings.windows)))


def _judged(check: str, seen: T | Trouble, judge: Callable[[T], Sequence[Finding]]) -> Sequence[Finding]:
    return [seen.finding(check)] if isinstance(seen, Trouble) else judge(seen)


def _unseen(check: str, why: str) -> Finding:
    return Finding(check, Level.SKIP, f"not looked at: {why}")


async def _after(cluster: Awaitable[ClusterSeen | Trouble], look: Callable[[], Awaitable[T]]) -> T | Trouble:
    """Look once the cluster was; there is no use in asking one that does not answer."""
    if isinstance(await cluster, Trouble):
        return Trouble("not looked at: no broker", level=Level.SKIP)
    return await _bounded(look())


async def _bounded(look: Awaitable[T], ms_max: int = LOOK_MS_MAX) -> T | Trouble:
    """Return what is seen, or what stands in the way."""
    try:
        async with asyncio.timeout(ms_max / 1000):
            return await look
    except TimeoutError:
        return Trouble(f"no answer within {so_long(ms_max)}", "see what it waits for with --log-level debug")
    except OperationError as error:
        return Trouble(str(error))
    except (KafkaError, OSError) as error:
        return Trouble(
            f"it cannot be asked ({type(error).__name__})", "try again; if it stays so, see the broker's log"
        )


async def _in_thread(look: Callable[[], T]) -> T:
    """Run what blocks; a thread that is waited for no longer, as in a name look-up, does not hold up the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("T", result))

    def run() -> None:
        result, failure = None, None
        try:
            result = look()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop may be over
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=run, name="doctor", daemon=True).start()
    return await done
