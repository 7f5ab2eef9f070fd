from coinglass_streams.doctor.findings import Finding, Level, Trouble, failed, so_long, so_many

OK = Finding("broker", Level.OK, "Kafka 4.3 at 127.0.0.1:9092, 1 node")


def test_a_line_says_ok_or_what_to_do():
    bad = Finding("topics", Level.FAIL, "t has no leader", "see that all brokers run")
    assert OK.line == "ok    broker      Kafka 4.3 at 127.0.0.1:9092, 1 node"
    assert bad.line == "fail  topics      t has no leader: see that all brokers run"


def test_nothing_from_outside_moves_the_terminals_cursor():
    assert Finding("channels", Level.FAIL, "refused\x1b[2J\r\n\tall").line.endswith("refused [2J   all")


def test_only_a_failure_fails_the_whole():
    others = [OK, Finding("marks", Level.WARN, ""), Finding("group", Level.SKIP, "")]
    assert not failed(others)
    assert failed([*others, Trouble("no answer").finding("clock")])


def test_figures_read_as_a_person_says_them():
    assert [so_long(ms) for ms in (0, -84, 999, 1_000, 119_900, 120_000, 7_199_000, 7_200_000, 172_800_000)] == [
        "0 ms", "84 ms", "999 ms", "1.0 s", "119.9 s", "2 min", "120 min", "2 h", "2 days",
    ]  # fmt: skip
    assert (so_many(0, "node"), so_many(1, "copy", "copies"), so_many(2, "copy", "copies")) == (
        "0 nodes", "1 copy", "2 copies",
    )  # fmt: skip
