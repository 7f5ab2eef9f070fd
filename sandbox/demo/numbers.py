"""The numbers that producer and worker serve at /metrics, read by the demo to show them."""

import asyncio
import http.client
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_SECONDS_MAX = 2.0

#: Every sample of one scrape: name -> the values of all label sets.
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known at one moment (`at_s`, of a steady clock); None is not known (yet)."""

    at_s: float = 0.0
    ready: bool = False
    frames: float | None = None
    frames_per_s: float | None = None
    dead_letters: float | None = None
    reconnects: float | None = None
    watermark_delay_s: float | None = None
    lag_records: float | None = None
    late: float | None = None


def combined(producer: Samples | None, worker: Samples | None, before: Numbers, now_s: float) -> Numbers:
    """Return the numbers of one scrape of both; the rate is taken against the numbers before. Pure."""
    made, done = producer or {}, worker or {}
    frames = _of(sum, made, "coinglass_producer_frames_total")
    per_s = before.frames_per_s
    if frames is not None and before.frames is not None and now_s > before.at_s:
        per_s = max(0.0, frames - before.frames) / (now_s - before.at_s)
    return Numbers(
        at_s=now_s,
        ready=bool(_of(max, done, "coinglass_ready")),
        frames=frames,
        frames_per_s=per_s,
        dead_letters=_both(
            _of(sum, made, "coinglass_producer_dead_letters_total"), _of(sum, done, "coinglass_rejected_total")
        ),
        reconnects=_of(sum, made, "coinglass_producer_reconnects_total"),
        watermark_delay_s=_of(max, done, "coinglass_watermark_delay_seconds"),
        lag_records=_of(sum, done, "coinglass_lag_records"),
        late=_of(sum, done, "coinglass_late_total"),
    )


def _of(fold: Callable[[list[float]], float], samples: Samples, name: str) -> float | None:
    values = samples.get(name)
    return fold(values) if values else None


def _both(one: float | None, other: float | None) -> float | None:
    return other if one is None else one + (other or 0.0)


async def scrape(port: int) -> Samples | None:
    """Return what is served at 127.0.0.1:`port`/metrics, None if nothing is."""
    return await asyncio.to_thread(_scrape, port)


def _scrape(port: int) -> Samples | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS_MAX)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != http.client.OK:
            return None
        samples: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append(sample.value)
        return samples
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
