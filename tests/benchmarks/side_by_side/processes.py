"""An engine's processes: started, stopped, and what they used."""

import os
import pathlib
import signal
import socket
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Used:
    """What a group of processes has used so far; zero where there is no /proc."""

    cpu_s: float = 0.0  # user and system
    rss_mb: float = 0.0  # the highest of each process, summed up


def start(command, env, cwd, log):
    """Start a command as the leader of a group of its own."""
    everything = {**os.environ, **env}
    return subprocess.Popen(
        command, env=everything, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def stop(process):
    """Stop the group: with SIGTERM, and if that is not heard with SIGKILL."""
    for how, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        if process.poll() is None:
            os.killpg(process.pid, how)
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue


def used(group) -> Used:
    """Return what every process of the group used."""
    ticks = peak_kb = 0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) != group:
                continue
            ticks += sum(map(int, fields[11:15]))
            status = (folder / "status").read_text().splitlines()
        except OSError:  # it ended meanwhile
            continue
        peak_kb += sum(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return Used(ticks / os.sysconf("SC_CLK_TCK"), peak_kb / 1024)


def free_port():
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
