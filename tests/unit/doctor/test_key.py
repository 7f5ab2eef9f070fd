import pytest

from coinglass_streams.doctor.findings import Level
from coinglass_streams.doctor.key import judge_key, look_at_key

KEY = "s3cret-of-this+test/0123456789"


def judged(environment, *, needed=True):
    seen = look_at_key(environment)
    finding = judge_key(seen, needed=needed)
    assert KEY not in repr(seen) + repr(finding) + finding.line
    return finding


def test_a_key_in_the_environment_is_fine():
    finding = judged({"COINGLASS_API_KEY": KEY})
    assert (finding.level, finding.says) == (Level.OK, "from COINGLASS_API_KEY")


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, Level.OK), (0o640, Level.OK), (0o644, Level.WARN), (0o602, Level.WARN)]
)
def test_a_file_that_other_users_may_read_or_change_is_a_warning(tmp_path, mode, level):
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(mode)
    finding = judged({"COINGLASS_API_KEY_FILE": str(path)})
    assert finding.level is level
    assert finding.remedy == ("" if level is Level.OK else f"chmod 600 {path}")


def test_no_key_is_a_failure_where_the_feed_wants_one():
    assert judged({}).level is Level.FAIL
    assert "COINGLASS_API_KEY" in judged({}).remedy
    assert judged({}, needed=False).level is Level.OK


def test_what_is_no_key_is_a_failure_that_says_why(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"the key is {KEY}")
    assert judged({"COINGLASS_API_KEY_FILE": str(path)}).level is Level.FAIL
    assert "cannot be read" in judged({"COINGLASS_API_KEY_FILE": str(tmp_path / "none")}).says
    assert "both set" in judged({"COINGLASS_API_KEY": KEY, "COINGLASS_API_KEY_FILE": str(path)}).says
