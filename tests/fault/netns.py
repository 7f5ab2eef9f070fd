"""Workers in network namespaces of their own, so that one can be cut off as by a pulled cable: nothing is answered,
nothing is refused. Needs root and iproute2 on Linux.

    namespace of slot N            the host
    10.X.N.2 --------veth-------- 10.X.N.1      10.X.255.1 (lo): where the broker listens
"""

import os
import shutil
import subprocess
from contextlib import suppress
from types import TracebackType
from typing import Self


def why_impossible() -> str | None:
    """Return why namespaces cannot be made here; None where they can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    probe = f"storm-{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "exec", probe, "true")
        _ip("netns", "del", probe)
        _ip("link", "add", f"sp{os.getpid()}a", "type", "veth", "peer", "name", f"sp{os.getpid()}b")
        _ip("link", "del", f"sp{os.getpid()}a")
    except subprocess.CalledProcessError as error:
        return f"ip refused: {error.stderr.strip()}"
    return None


class Namespaces:
    """As many namespaces as slots, and the host's address that they all reach. Gone at the end."""

    def __init__(self, slots: int) -> None:
        self._slots, self._id = slots, os.getpid()
        self._net = f"10.{64 + self._id % 150}"

    @property
    def host(self) -> str:
        """The address that the broker must listen on."""
        return f"{self._net}.255.1"

    def address(self, slot: int) -> str:
        """Return the address of the workers in this slot."""
        return f"{self._net}.{slot}.2"

    def command(self, slot: int) -> list[str]:
        """Return what to put before a command to run it in there; the process stays the same one."""
        return [_program(), "netns", "exec", self._name(slot)]

    def cut(self, slot: int) -> None:
        """Pull the cable."""
        _ip("link", "set", self._cable(slot), "down")

    def mend(self, slot: int) -> None:
        """Plug it in again."""
        _ip("link", "set", self._cable(slot), "up")

    def __enter__(self) -> Self:
        try:
            _ip("addr", "add", f"{self.host}/32", "dev", "lo")
            for slot in range(self._slots):
                self._add(slot)
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._delete()

    def _add(self, slot: int) -> None:
        name, cable, peer, net = self._name(slot), self._cable(slot), f"sw{self._id}-{slot}", f"{self._net}.{slot}"
        _ip("netns", "add", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", peer)
        _ip("link", "set", peer, "netns", name)
        _ip("addr", "add", f"{net}.1/30", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{net}.2/30", "dev", peer)
        _ip("-n", name, "link", "set", peer, "up")
        _ip("-n", name, "route", "add", "default", "via", f"{net}.1")

    def _delete(self) -> None:
        for slot in range(self._slots):
            with suppress(subprocess.CalledProcessError):
                _ip("link", "del", self._cable(slot))
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", self._name(slot))
        with suppress(subprocess.CalledProcessError):
            _ip("addr", "del", f"{self.host}/32", "dev", "lo")

    def _name(self, slot: int) -> str:
        return f"storm-{self._id}-{slot}"

    def _cable(self, slot: int) -> str:
        return f"sv{self._id}-{slot}"


def _program() -> str:
    return shutil.which("ip") or "ip"


def _ip(*arguments: str) -> None:
    subprocess.run([_program(), *arguments], check=True, capture_output=True, text=True, timeout=10)
