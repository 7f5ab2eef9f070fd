"""`produce`, but quick to ping, to give up and to come back: for storms of seconds.

Run as `python -m tests.fault.feed.quick_producer produce …`.
"""

from functools import partial

from coinglass_streams.commands import produce
from producer.settings import ProducerSettings, Timing
from tests.fault.feed.settings import QUICK


def be_quick() -> None:
    """Have the command make other settings; fails where it makes them by another name."""
    assert produce.ProducerSettings is ProducerSettings
    timing = Timing(QUICK.ping_every_ms, QUICK.pong_timeout_ms, QUICK.probe_every_ms)
    produce.ProducerSettings = partial(  # type: ignore[misc,assignment]
        ProducerSettings,
        timing=timing,
        backoff_first_ms=QUICK.backoff_first_ms,
        backoff_ms_max=QUICK.backoff_ms_max,
        healthy_after_ms=QUICK.healthy_after_ms,
        connect_timeout_ms=QUICK.connect_timeout_ms,
    )


if __name__ == "__main__":
    be_quick()
    from coinglass_streams.cli import main

    main()
