"""The broker of a run: the one that was named, or our own embedded Kafka for as long as the run lasts."""

import contextlib
import pathlib
import subprocess
import tempfile
import time

from processes import free_port, start, stop

READY_SECONDS_MAX = 120  # the first start ever downloads Kafka


@contextlib.contextmanager
def broker(given, command):
    """Yield an address: the given one, or that of `coinglass-streams kafka`, started here and stopped at the end."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="side-by-side-kafka-") as folder:
        port, log_path = free_port(), pathlib.Path(folder, "out.log")
        with log_path.open("w") as log:
            process = start([command, "kafka", "--port", str(port), "--data-dir", f"{folder}/data"], {}, None, log)
        try:
            _until_ready(process, log_path)
            yield f"127.0.0.1:{port}"
        finally:
            stop(process)


def _until_ready(process: subprocess.Popen, log_path: pathlib.Path) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while "kafka.ready" not in log_path.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the embedded Kafka did not start:\n{log_path.read_text()[-2000:]}")
        time.sleep(0.1)
