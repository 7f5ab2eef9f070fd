"""The counts as Prometheus reads them."""

import socket
import urllib.request

import pytest
from prometheus_client import generate_latest

from producer.buffer import Buffer
from producer.metrics import Metrics, served
from producer.stats import FeedStats, Stats
from schemas.errors import OperationError


def test_counts_stand_under_their_names():
    parts = [FeedStats(frames=1, connected=True), FeedStats(frames=2, reconnects=1, quiet_channels=1)]
    stats = Stats(parts, spooled=11, recovered=13, spool_bytes=17)
    for part, dropped in zip(stats.parts, (2, 3), strict=True):
        part.dropped["buffer-full"] = dropped
    stats.parts[0].dead_letters["malformed"] = 7
    stats.parts[0].silences_ms = {f"channel-{n}": n * 1_000 for n in range(1_000)}
    text = generate_latest(Metrics(stats, Buffer(1_000)).registry).decode()
    for line in (
        "coinglass_producer_frames_total 3.0",
        "coinglass_producer_reconnects_total 1.0",
        'coinglass_producer_dropped_frames_total{reason="buffer-full"} 5.0',
        'coinglass_producer_dead_letters_total{reason="malformed"} 7.0',
        "coinglass_producer_buffer_bytes 0.0",
        "coinglass_producer_connected 1.0",
        "coinglass_producer_quiet_channels 1.0",
        "coinglass_producer_spooled_total 11.0",
        "coinglass_producer_recovered_total 13.0",
        "coinglass_producer_spool_bytes 17.0",
        'coinglass_producer_channel_silent_seconds{channel="channel-999"} 999.0',
        "coinglass_producer_ack_seconds_count 0.0",
    ):
        assert line in text
    assert text.count("channel_silent_seconds{") == 200


def test_a_frames_delay_is_counted_in_its_bucket_and_all_above():
    stats = Stats()
    for delay_ms in (-1, 0, 2, 25, 26, 10**9):
        stats.delays.add(delay_ms)
    text = generate_latest(Metrics(stats, Buffer(1_000)).registry).decode()
    for bound, count in {"0.001": 2, "0.002": 3, "0.02": 3, "0.025": 4, "0.03": 5, "3600.0": 5, "+Inf": 6}.items():
        assert f'coinglass_producer_frame_seconds_bucket{{le="{bound}"}} {count}.0' in text
    assert "coinglass_producer_frame_seconds_count 6.0" in text


def test_metrics_are_served_and_a_taken_port_is_one_line():
    metrics = Metrics(Stats(), Buffer(1_000))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OperationError, match="--metrics-port"), served(metrics, port):
            pass
    with served(metrics, port), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"coinglass_producer_frames_total" in answer.read()
