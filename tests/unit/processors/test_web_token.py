import pytest

from processors.settings import read_token
from schemas.errors import UsageError


def test_a_token_stands_alone_in_its_file(tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef-._~+/=\n")
    assert read_token(tmp_path / "token") == "0123456789abcdef-._~+/="


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words are no token", b"\xff" * 20, b"x" * 501, "ü".encode() * 20]
)
def test_what_is_no_token_is_refused_without_showing_it(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UsageError, match="--web-token-file") as refused:
        read_token(tmp_path / "token")
    assert content.decode(errors="replace")[:10] not in str(refused.value) or content == b""


def test_a_token_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path / "none")
