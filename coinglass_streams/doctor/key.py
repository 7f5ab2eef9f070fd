"""Whether there is an API key, and where it lies. Its text is shown nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coinglass_streams.doctor.findings import Finding, Level
from producer.settings import KEY_FILE_VARIABLE, KEY_VARIABLE, SET_KEY, Secret, read_api_key
from schemas.errors import UsageError

_OTHERS = 0o007


@dataclass(frozen=True, slots=True)
class KeySeen:
    """The key, or why there is none; `mode` has the file's permission bits."""

    secret: Secret | None = None
    source: str = ""
    mode: int | None = None
    trouble: str = ""


def look_at_key(environment: Mapping[str, str]) -> KeySeen:
    """Read the key as the producer does; never raises."""
    path = environment.get(KEY_FILE_VARIABLE, "")
    try:
        secret = read_api_key(environment)
    except UsageError as error:
        return KeySeen(trouble=str(error))
    if secret is None:
        return KeySeen()
    if not path:
        return KeySeen(secret, KEY_VARIABLE)
    try:
        return KeySeen(secret, path, Path(path).stat().st_mode & 0o777)
    except OSError as error:  # it was there a moment ago
        return KeySeen(trouble=f"{path} cannot be looked at: {error.strerror}")


def judge_key(seen: KeySeen, *, needed: bool) -> Finding:
    """Say what is to be said of the key; `needed` tells whether this feed lets nobody in without one."""
    if seen.trouble:
        return Finding("key", Level.FAIL, seen.trouble)
    if seen.secret is None:
        if needed:
            return Finding("key", Level.FAIL, "there is no API key", SET_KEY)
        return Finding("key", Level.OK, "none is set, and this feed may need none")
    if seen.mode is not None and seen.mode & _OTHERS:
        says = f"from {seen.source}, which other users of this machine may read or change (mode {seen.mode:o})"
        return Finding("key", Level.WARN, says, f"chmod 600 {seen.source}")
    return Finding("key", Level.OK, f"from {seen.source}")
