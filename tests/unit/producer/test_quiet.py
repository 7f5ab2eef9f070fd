"""When a channel is quiet: frames and looks in seconds, floor 10 s, 30 s for one never heard."""

from collections.abc import Iterable

from producer.quiet import QuietChannels


def looked(frames_s: Iterable[int], until_s: int, watch: QuietChannels | None = None) -> tuple[list[int], list[int]]:
    """Look at one channel every second; return when it was newly quiet, and when heard again."""
    watch = watch or QuietChannels(10_000, 30_000)
    watch.connected(0)
    last, quiet_at, heard_at = 0, [], []
    for second in range(until_s + 1):
        if second in set(frames_s):
            last = second * 1_000
        quiet, heard = watch.look({"a": last}, second * 1_000)
        quiet_at += [second] * len(quiet)
        heard_at += [second] * len(heard)
    return quiet_at, heard_at


def test_a_channel_that_stops_is_quiet_after_the_floor_once():
    assert looked(range(1, 20), 60) == ([30], [])


def test_a_channel_never_heard_is_given_longer():
    assert looked([], 100) == ([31], [])


def test_what_was_seen_raises_the_threshold():
    frames = [1, 2, 3, 18, 19]  # a silence of 15 s: quiet once, then known
    assert looked(frames, 60) == ([14, 35], [18])


def test_time_without_a_connection_is_no_silence_and_silences_add_up_over_connections():
    watch = QuietChannels(10_000, 30_000)
    watch.connected(0)
    watch.look({"a": 1_000}, 7_000)
    assert watch.silences_ms() == {"a": 5_999}
    watch.connected(3_600_000)
    assert watch.look({"a": 0}, 3_603_000) == ([], [])
    assert watch.silences_ms() == {"a": 8_999}
    assert watch.look({"a": 0}, 3_605_000) == (["a"], [])
    assert watch.quiet == 1
    assert watch.look({"a": 3_605_500}, 3_606_000) == ([], ["a"])
    assert watch.quiet == 0


def test_channels_that_are_gone_are_forgotten():
    watch = QuietChannels(10_000, 30_000)
    watch.connected(0)
    watch.look({"a": 0, "b": 0}, 40_000)
    watch.look({"b": 0}, 80_000)
    assert (watch.quiet, list(watch.silences_ms())) == (1, ["b"])
