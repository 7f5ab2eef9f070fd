"""The channels file while it is edited, as editors do it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from producer.channels_watch import ChannelsWatch, read_channels
from schemas.errors import UsageError

ONE, TWO = b"- liquidationOrders\n", b"- liquidationOrders\n- futures_trades@A_B@1\n"


def test_an_edit_is_taken_once_and_not_before_it_has_settled(tmp_path: Path):
    file = tmp_path / "channels.yaml"
    file.write_bytes(ONE)
    watch = ChannelsWatch(file, read_channels(file))
    assert [watch.look() for _ in range(3)] == [None] * 3
    file.write_bytes(TWO[:-1])  # a part, that might be a whole
    assert watch.look() is None
    file.write_bytes(TWO)
    assert [watch.look() for _ in range(3)] == [None, ("liquidationOrders", "futures_trades@A_B@1"), None]
    file.write_bytes(b"# the same\n" + TWO)
    assert [watch.look() for _ in range(3)] == [None] * 3


def test_a_file_that_is_replaced_is_followed(tmp_path: Path):
    file, new = tmp_path / "channels.yaml", tmp_path / "new"
    file.write_bytes(TWO)
    watch = ChannelsWatch(file, read_channels(file))
    watch.look()
    new.write_bytes(ONE)
    new.replace(file)
    assert [watch.look(), watch.look()] == [None, ("liquidationOrders",)]


@pytest.mark.parametrize("broken", [None, b"", b"- nonsense", b"[", b"\xff"])
def test_a_missing_or_broken_file_changes_nothing_and_is_told_once(tmp_path: Path, broken: bytes | None):
    file = tmp_path / "channels.yaml"
    file.write_bytes(TWO)
    watch = ChannelsWatch(file, read_channels(file))
    file.unlink()
    if broken is not None:
        file.write_bytes(broken)
    with capture_logs() as logs:
        assert [watch.look() for _ in range(5)] == [None] * 5
        file.write_bytes(TWO)
        assert [watch.look() for _ in range(5)] == [None] * 5
    assert [line["event"] for line in logs] == ["channels.file_unusable", "channels.file_usable"]
    assert str(file) in logs[0]["error"]


def test_a_file_that_cannot_be_used_at_the_start_is_one_line(tmp_path: Path):
    for path, remedy in ((tmp_path / "none", "No such file"), (tmp_path, "is no file")):
        with pytest.raises(UsageError, match=remedy):
            read_channels(path)
