"""`coinglass-streams process`: one worker."""

from pathlib import Path

import click

from coinglass_streams import options
from coinglass_streams.logs import hide
from coinglass_streams.options import DurationParam, option
from schemas.durations import Duration
from schemas.topics import Topics


@click.command()
@options.on_kafka
@option("--app-id", default="coinglass-streams", help="Consumer group; workers with one id share the work.")
@option("--member", help="This worker's own name in the group: its partitions wait for it over a restart.")
@option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/state"),
    help="Folder for Faust's own files.",
)
@option("--window", "windows", type=DurationParam(), multiple=True, default=["1m"], help="Window length; repeatable.")
@option(
    "--grace", type=DurationParam(), default="5s", help="How far the watermark stays behind the highest event time."
)
@option(
    "--mark-delay", type=DurationParam(), default="10s", help="How far a feed mark lets the watermark come up to it."
)
@option("--assume-coverage", is_flag=True, help="Call windows of a stream without any marks fully covered.")
@option("--web-host", default="127.0.0.1", help="Address of the web views.")
@option("--web-port", type=click.IntRange(1, 65_535), default=6066, help="Port of the web views.")
@option(
    "--web-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Ask for the token in this file, as a bearer token, before the web views show anything of the feed.",
)
def process(
    broker: str,
    topics: Topics,
    schema_registry: str | None,
    app_id: str,
    member: str | None,
    state_dir: Path,
    windows: tuple[Duration, ...],
    grace: Duration,
    mark_delay: Duration,
    assume_coverage: bool,
    web_host: str,
    web_port: int,
    web_token_file: Path | None,
) -> None:
    """Turn the raw topics into finals, tables and web views until stopped by a signal."""
    from processors.settings import WorkerSettings, read_token
    from processors.worker import run_worker
    from sandbox.ports import check_port_free

    web_token = read_token(web_token_file) if web_token_file else None
    hide(web_token or "")
    check_port_free(web_host, web_port, "--web-port")
    run_worker(
        WorkerSettings(
            bootstrap=broker,
            topics=topics,
            app_id=app_id,
            windows=windows,
            grace=grace,
            mark_delay=mark_delay,
            state_dir=state_dir,
            web_host=web_host,
            web_port=web_port,
            member=member,
            assume_coverage=assume_coverage,
            schema_registry=schema_registry,
            web_token=web_token,
        )
    )
