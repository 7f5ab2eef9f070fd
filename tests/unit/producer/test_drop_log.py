"""What is dropped is told, however short the moment in which it was."""

from collections import Counter

from structlog.testing import capture_logs

from producer import connection
from producer.buffer import Buffer
from producer.connection import DropLog


def test_drops_are_told_once_a_second_by_reason_and_the_rest_at_the_end(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now_s)
    dropped = Counter(full=3)  # of a connection before
    drops = DropLog(dropped, Buffer(1_000))
    with capture_logs() as logs:
        drops.look()
        assert logs == []
        dropped.update(full=2, long=1)
        drops.look()
        drops.look()
        dropped.update(full=5)
        now_s += 0.9
        drops.look()
        assert [(line["event"], line["reason"], line["frames"]) for line in logs] == [
            ("feed.dropped", "full", 2),
            ("feed.dropped", "long", 1),
        ]
        now_s += 0.2
        drops.look()
        dropped.update(full=1)
        drops.look(last=True)
    assert [line["frames"] for line in logs[2:]] == [5, 1]
