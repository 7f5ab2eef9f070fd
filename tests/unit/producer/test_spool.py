"""The spool's file: order, bounds, and what may happen to a file."""

import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from producer.entries import DeadLetterEntry, Entry, FrameEntry, MarkEntry
from producer.protocol import RawKind
from producer.spool import Spool, SpoolRefusedError
from producer.spool_folder import SpoolFolder

MIB = 1024 * 1024


def frame(number: int, size: int = 300) -> FrameEntry:
    return FrameEntry(RawKind.TRADES, b"c", b"x" * size, 1_000 + number, b"u", number, number=number)


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.number for entry in entries]


Take = Callable[..., Spool]


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Take a slot of a folder, as a producer does; all are closed at the end."""
    taken: list[Spool] = []

    def take(cluster: str = "one", bytes_max: int = MIB, prefix: str = "p") -> Spool:
        taken.append(SpoolFolder(tmp_path / "spool", prefix, cluster, bytes_max).take())
        return taken[-1]

    yield take
    for spool in taken:
        spool.close()


def test_entries_of_all_kinds_come_back_as_they_were_in_order(take):
    entries = [
        FrameEntry(RawKind.LIQUIDATIONS, "ü".encode(), b"\xff\x00", 5, b"u", 7, number=3),
        DeadLetterEntry("malformed", "not JSON: ü", b"\xfe", 6, b"u", 8, number=4),
        MarkEntry(b"{}", 7, number=9),
    ]
    spool = take()
    spool.append(entries[:2])
    spool.append(entries[2:])
    assert spool.read(0, MIB) == entries
    assert spool.read(4, MIB) == entries[1:]
    assert (spool.first, spool.last) == (3, 9)


def test_a_read_ends_at_its_bound_but_has_one_entry_at_least(take):
    spool = take()
    spool.append([frame(n) for n in range(1, 10)])
    assert numbers(spool.read(2, 3 * frame(0).cost_bytes)) == [2, 3, 4]
    assert numbers(spool.read(2, 1)) == [2]


def test_what_was_handed_out_is_known_to_the_next_and_what_was_acknowledged_is_gone(take):
    spool = take()
    spool.append([frame(n) for n in range(1, 10)])
    spool.hand_out(6, acknowledged_before=4)
    spool.hand_out(5, acknowledged_before=4)
    spool.close()
    after = take()
    assert numbers(list(after.suspects())) == [4, 5, 6]
    assert numbers(after.read(0, MIB)) == [4, 5, 6, 7, 8, 9]


def test_a_spool_takes_its_bound_and_no_more_and_again_when_there_is_room(take):
    spool = take(bytes_max=256 * 1024)

    def fill() -> NoReturn:
        while True:
            spool.append([frame(spool.last + n) for n in range(1, 11)])

    with pytest.raises(SpoolRefusedError, match="full"):
        fill()
    number = spool.last
    assert 0.8 * 256 * 1024 < spool.used_bytes <= 256 * 1024
    assert spool.path.stat().st_size <= 256 * 1024
    spool.hand_out(100, acknowledged_before=101)
    spool.append([frame(number + n) for n in range(1, 11)])
    assert numbers(spool.read(0, MIB)) == list(range(101, number + 11))


def test_an_emptied_spool_gives_the_disk_back(take):
    spool = take()
    spool.append([frame(n) for n in range(1, 2_001)])
    spool.clear()
    assert spool.is_empty
    folder = spool.path.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 64 * 1024
    spool.append([frame(2_001)])
    assert numbers(spool.read(0, MIB)) == [2_001]


def test_two_producers_have_two_files_and_a_third_has_the_first_again(take):
    first, second = take(), take()
    assert [spool.path.name for spool in (first, second)] == ["p-0.spool", "p-1.spool"]
    first.close()
    assert take().path == first.path


def test_leftovers_of_a_producer_that_is_no_more_are_found_by_another(take, tmp_path):
    first, second, own = take(), take(), take()
    second.append([frame(1)])
    folder = SpoolFolder(tmp_path / "spool", "p", "one", MIB)
    assert folder.take_leftovers() is None
    second.close()
    first.close()
    found = folder.take_leftovers()
    assert found is not None
    assert (found.path, numbers(found.read(0, MIB))) == (second.path, [1])
    found.close()
    assert own.is_empty


@pytest.mark.parametrize(("prefix", "cluster"), [("p-1", "one"), ("p", "two")])
def test_leftovers_for_other_topics_or_another_cluster_are_left_alone(take, tmp_path, prefix, cluster):
    spool = take(prefix="p", cluster="one")
    spool.append([frame(1)])
    spool.close()
    other = SpoolFolder(tmp_path / "spool", prefix, cluster, MIB)
    assert other.take_leftovers() is None
    own = other.take()
    assert own.is_empty
    assert own.path != spool.path
    own.close()
    assert numbers(take().read(0, MIB)) == [1]


def test_an_empty_file_of_another_cluster_is_taken_over(take):
    take(cluster="one").close()
    spool = take(cluster="two")
    assert (spool.path.name, spool.cluster) == ("p-0.spool", "two")


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 10_000)


def _another_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=1")
    database.close()


def _of_the_future(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=2")
    database.close()


def _without_a_word(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM about")
    database.close()


@pytest.mark.parametrize("spoil", [_garbage, _another_database, _of_the_future, _without_a_word])
def test_a_file_that_is_no_spool_is_set_aside_with_what_is_in_it(take, spoil):
    spool = take()
    spool.append([frame(1)])
    spool.close()
    spoil(spool.path)
    spoilt = spool.path.read_bytes()[100:]  # SQLite's own header aside
    again = take()
    assert again.path == spool.path
    assert again.is_empty
    again.append([frame(2)])
    assert spool.path.with_name("p-0.spool.unreadable-0").read_bytes()[100:] == spoilt


def test_an_empty_file_and_a_torn_log_are_no_harm(take, tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "p-0.spool").touch()
    (tmp_path / "spool" / "p-0.spool-wal").write_bytes(b"\x37\x7f\x06\x82torn")
    spool = take()
    spool.append([frame(1)])
    assert numbers(spool.read(0, MIB)) == [1]


WRITER = """
    import sys
    from pathlib import Path
    from producer.spool_folder import SpoolFolder
    from tests.unit.producer.test_spool import frame

    spool = SpoolFolder(Path(sys.argv[1]), "p", "one", 1 << 30).take()
    number = 0
    while True:
        spool.append([frame(number + n) for n in range(1, 11)])
        number += 10
        print(number, flush=True)
"""


def test_what_was_written_survives_a_kill(take, tmp_path):
    """Torn in the middle of a write, as often as not."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "spool")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 3_000:
                break
        writer.send_signal(signal.SIGKILL)
        said = [int(line) for line in writer.stdout]
    told = max([3_000, *said])
    spool = take()
    assert spool.path.name == "p-0.spool"
    assert spool.last in (told, told + 10)
    assert numbers(spool.read(0, 1 << 30)) == list(range(1, spool.last + 1))


def test_a_disk_that_is_full_refuses_and_loses_nothing_that_was_taken(take):
    spool = take(bytes_max=100 * MIB)
    spool.append([frame(1)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, limits[1]))
    try:
        with pytest.raises(SpoolRefusedError):
            spool.append([frame(n) for n in range(2, 3_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert spool.last == 1
    spool.append([frame(2)])
    assert numbers(spool.read(0, MIB)) == [1, 2]


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolRefusedError):
        SpoolFolder(tmp_path / "spool", "p", "one", MIB).take()
