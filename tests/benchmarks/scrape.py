"""What a worker says of itself at /metrics."""

from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.processes import Worker


class Scrape(NamedTuple):
    """Frames and CPU of one moment: both are in the same answer."""

    frames: int
    cpu_s: float


async def scrape(worker: Worker) -> Scrape:
    """Return how many frames the worker has processed, and the CPU it has used since its start."""
    _, _, body = await worker.get("/metrics")
    frames = cpu_s = 0.0
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name == "coinglass_frames_total":
                frames += sample.value
            elif sample.name == "process_cpu_seconds_total":
                cpu_s = sample.value
    return Scrape(int(frames), cpu_s)
