"""The pipeline against `tests/oracle.py`: any raw partition, however hostile, split and restarted at any point.

Nothing of the pipeline is replaced here; what goes in is bytes as Kafka would hand them over, and what is compared is
the bytes that would be published.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from processors.engine.step import Result
from processors.pipeline import PartitionPipeline, PipelineSettings
from processors.windows import WindowSize
from schemas import topics as names
from schemas.codec import encoder, single_object_header
from schemas.topics import MARK_KEY, Topics
from tests.oracle import RENAMED, DeadLetter, Final, OracleSettings, expect

PREFIX = "oracle"
TOPICS = Topics(PREFIX)
EPOCH_MS = 1_725_416_318_000
PARTITION = 3

LIQUIDATIONS = "liquidationOrders"
RENAMED_LIQUIDATIONS = "liquidation_orders"
MARKETS = (
    "futures_trades@Binance_BTCUSDT@10000",
    "futures_trades@Binance_BTCUSDT@0",  # overlaps the first: never added together
    "futures_trades@Gate_BTC_USDT@10000.5",
    "futures_trades@OKX_BTC-USDT-SWAP@000000000000000.000000",
    "futures_trades@X_a@b_Ω@5",  # the last @ counts, and the first underscore
)
UNKNOWN = (
    "",
    "liquidationOrders ",
    "LiquidationOrders",
    "futures_trades",
    "futures_trades@",
    "futures_trades@Binance_BTCUSDT",
    "futures_trades@Binance@10000",
    "futures_trades@_BTCUSDT@10000",
    "futures_trades@Binance_@10000",
    "futures_trades@Binance_BTCUSDT@",
    "futures_trades@Binance_BTCUSDT@-1",
    "futures_trades@Binance_BTCUSDT@1e4",
    "futures_trades@Binance_BTCUSDT@10000.",
    "futures_trades@Binance_BTCUSDT@10000.1234567",
    "futures_trades@Binance_BTCUSDT@1234567890123456",
    "futures_trades@Binance_BTCUSDT@10000\n",
    "futures_trades@Binance_BTCUSDT@\u0661\u0660",  # digits, and not ASCII's
    "futures_trades@" + "E" * 65 + "_S@1",
    "futures_trades@E_" + "S" * 65 + "@1",
)


class Raw(NamedTuple):
    """A message of a raw topic, as a Kafka client hands it over."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Case(NamedTuple):
    """A raw partition and the settings it is read with."""

    records: list[Raw]
    settings: OracleSettings


# --- what is compared -------------------------------------------------------------------------------------------------


def pipeline_settings(wanted: OracleSettings) -> PipelineSettings:
    windows = tuple(WindowSize(name, ms) for name, ms in wanted.windows)
    return PipelineSettings(TOPICS, windows, wanted.grace_ms, wanted.mark_delay_ms, wanted.assume_coverage)


def run(case: Case, splits: Sequence[int], restarts: Sequence[bool]) -> tuple[list[Result], dict[bytes, bytes]]:
    """Return all results, and the windows' rows at the end: a batch ends at each split, a restart may follow it."""
    topic = case.records[0].topic if case.records else TOPICS.raw_trades
    pipeline = PartitionPipeline(pipeline_settings(case.settings), topic, PARTITION)
    results: list[Result] = []
    rows: dict[bytes, bytes] = {}
    ends = [*splits, len(case.records)]
    for begin, end, restart in zip([0, *splits], ends, [*restarts, False], strict=True):
        pipeline.process(case.records[begin:end])
        changes = pipeline.take()
        results += changes.results
        for key, row in changes.rows.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        if restart:
            pipeline = PartitionPipeline(pipeline_settings(case.settings), topic, PARTITION)
            pipeline.restore(dict(rows))
    return results, {key: row for key, row in rows.items() if json.loads(key)[1] == "window"}


def as_result(final: Final) -> Result:
    """Return what a final or late record must be published as."""
    value = encoder(final.schema, single_object_header(final.schema))(final.value)
    return Result(final.topic, final.key, value, final.timestamp_ms)


def as_dead_letter(result: Result) -> DeadLetter:
    """Read a published dead letter's headers; those of the contract and no others."""
    headers = {name: value.decode() for name, value in result.headers}
    del headers[names.HEADER_DETAIL]  # free text
    letter = DeadLetter(
        topic=result.topic,
        reason=headers.pop(names.HEADER_REASON),
        indexes=json.loads(headers.pop(names.HEADER_RECORDS)),
        key=result.key,
        value=result.value,
        source=(
            headers.pop(names.HEADER_SOURCE_TOPIC),
            int(headers.pop(names.HEADER_SOURCE_PARTITION)),
            int(headers.pop(names.HEADER_SOURCE_OFFSET)),
            int(headers.pop(names.HEADER_SOURCE_TIMESTAMP)),
        ),
        timestamp_ms=result.timestamp_ms,
    )
    assert not headers
    return letter


def assert_as_the_oracle_says(case: Case, results: list[Result]) -> None:
    expected = expect(case.records, case.settings)
    by_topic: dict[str, list[Result]] = {}
    for result in results:
        by_topic.setdefault(result.topic, []).append(result)
    dead = [as_dead_letter(result) for result in by_topic.pop(TOPICS.dead_letters, [])]
    assert dead == expected.dead
    wanted = {topic: [as_result(final) for final in finals] for topic, finals in expected.finals.items()}
    if expected.late:
        wanted[TOPICS.late] = [as_result(final) for final in expected.late]
    assert by_topic == wanted


# --- hostile partitions -----------------------------------------------------------------------------------------------

often = st.sampled_from  # plain choices: hypothesis spends its time on the combinations

TIMES_AGO_MS = (0, 0, 1, 250, 999, 1_000, 1_500, 3_000, 5_000, 6_999, 9_000, 20_000, -1, -59_999, -60_000)
TIMES_AHEAD_MS = (-60_001, -61_000, -10_000_000)
PRICES = ("56738.00", "0.00001234", "1", "3e-5", "99999.99999999999999999", "1e-100", "1.7976931348623157e308", "7E3")
PRICES_BAD = ("0", "-0.0", "-1", "9.99e-101", "1e-400")
VOLUMES = ("3858.18400", "0", "-0.0", "0.0000005", "0.0000015", "1.0000015", "12345678901234.123456789", "1e200", "0.1")
VOLUMES_BAD = ("-0.0000001", "-1", "1.0000001e200", "1e300")
SIDES_BAD = ("0", "3", "-1", "-0", "2147483647", "-2147483648")
ASSETS = ('"BTC"', '"ETH"', '"\\u0042TC"', '"Ω"', '"\\ud83d\\ude80"', '"' + "A" * 64 + '"', '"@mark"', '"a\\"b\\u0000"')
NAMES_BAD = ('""', '"' + "A" * 65 + '"', '"' + "\\ud83d\\ude80" * 65 + '"')
TIMES_BAD = ("0", "-1", "-9223372036854775808")
NOT_OF_THE_SCHEMA = {
    "baseAsset": ("null", "1", "[]", '"\\ud800"', '"\\x"', '"a\tb"', "true"),
    "exName": ("null", "{}", '"\\udc00\\ud800"'),
    "symbol": ("null", "1.5", '["S"]'),
    "price": ("null", '"1"', "1e999", "-1e999", "NaN", "Infinity", "01", "1.", ".5", "+1", "1" * 400, "true", "0x10"),
    "side": ("null", "1.0", "1e0", "2147483648", "-2147483649", '"1"', "true"),
    "time": ("null", "1725416318379.0", "9223372036854775808", "1.7e12", "1" * 40, "false"),
    "volUsd": ("null", '"5"', "1e309", "-", "[1]", "false"),
}
UNKNOWN_FIELDS = ('"x":null', '"nested":{"price":[1,{"side":9}]}', '"":1', '"Price":-1', '"big":18446744073709551616')
BROKEN_FRAMES = (
    None,
    b"",
    b" ",
    b"pong",
    b"null",
    b"[]",
    b"5",
    b"{}",
    b'{"channel":"liquidationOrders"}',
    b'{"data":[]}',
    b'{"channel":null,"data":[]}',
    b'{"channel":"liquidationOrders","data":null}',
    b'{"channel":"liquidationOrders","data":{}}',
    b'{"channel":"liquidationOrders","data":[null]}',
    b'{"channel":"liquidationOrders","data":[[]]}',
    b'{"channel":"liquidationOrders","data":[],}',
    b'{"channel":"liquidationOrders","data":[]}}',
    b'{"channel":"liquidationOrders","data":[]}\x00',
    b'\xef\xbb\xbf{"channel":"liquidationOrders","data":[]}',
    b'{"channel":"liquidationOrders\xff","data":[]}',
    b'{"channel":"liquidationOrders","data":[],"x":"\xc3"}',
    b'{"channel":"liquidationOrders","data":[],"x":"\xed\xa0\x80"}',
    b'{"channel":"liquidationOrders","data":[],"x":NaN}',
    b"\x00\x01\xfe\xff",
    '{"channel":"liquidationOrders","data":[]}'.encode("utf-16"),
    b'{"channel":"liquidationOrders","data":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"[" * 100_000,
)


@st.composite
def record_texts(draw: st.DrawFn, received_ms: int) -> str:
    """One record as JSON text; most are good."""
    fields = {
        "baseAsset": draw(often(ASSETS)),
        "exName": draw(often(ASSETS)),
        "price": draw(often(PRICES)),
        "side": draw(often(("1", "2"))),
        "symbol": draw(often(ASSETS)),
        "time": str(received_ms - draw(often(TIMES_AGO_MS))),
        "volUsd": draw(often(VOLUMES)),
    }
    kind = draw(st.integers(0, 39))
    if kind in (1, 2, 3):
        field, values = draw(
            often(
                (
                    ("price", PRICES_BAD),
                    ("volUsd", VOLUMES_BAD),
                    ("side", SIDES_BAD),
                    ("time", TIMES_BAD),
                    ("baseAsset", NAMES_BAD),
                    ("exName", NAMES_BAD),
                    ("symbol", NAMES_BAD),
                )
            )
        )
        fields[field] = draw(often(values))
    if kind in (3, 4, 5):
        fields["time"] = str(received_ms - draw(often(TIMES_AHEAD_MS)))
    if kind == 6:
        field = draw(often(sorted(fields)))
        fields[field] = draw(often(NOT_OF_THE_SCHEMA[field]))
    if kind == 7:
        del fields[draw(often(sorted(fields)))]
    texts = [f'"{name}":{value}' for name, value in fields.items()]
    if kind in (8, 9):
        texts.insert(draw(st.integers(0, len(texts))), draw(often(UNKNOWN_FIELDS)))
    if kind == 10:
        texts.reverse()
    if kind == 11:  # named twice: the last one counts
        texts.insert(0, '"price":1e5')
    if kind in (12, 13):
        name = draw(often(sorted(RENAMED)))
        texts.append(f'"{draw(often(RENAMED[name]))}":{fields.get(name, 5)}')  # under both of its names
    return "{" + ",".join(texts) + "}"


@st.composite
def frames(draw: st.DrawFn, channels: Sequence[str], received_ms: int) -> tuple[bytes | None, bytes | None]:
    """Key and value of one frame."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(often((None, b"", b"liquidationOrders", b"\xff"))), draw(often(BROKEN_FRAMES))
    channel = draw(often(UNKNOWN if kind == 1 else channels))
    records = draw(st.lists(record_texts(received_ms), min_size=0, max_size=4))
    renamed = draw(st.integers(0, 5))
    if renamed < 2:  # all, or some, in the newer spelling
        for name, others in RENAMED.items():
            if renamed == 0 or draw(st.booleans()):
                other = draw(often(others)) if renamed else others[0]
                records = [record.replace(f'"{name}":', f'"{other}":') for record in records]
    more = f",{draw(often(UNKNOWN_FIELDS))}" if kind == 2 else ""
    space = draw(often((" ", "\r\n\t "))) if kind == 3 else ""
    text = f'{{"channel":{space}{json.dumps(channel)},"data":[{f",{space}".join(records)}]{more}}}{space}'
    value = text.encode()
    if kind == 4:
        value = value[: draw(st.integers(0, len(value)))]
    return channel.encode(), value


@st.composite
def marks(draw: st.DrawFn, channels: Sequence[str], received_ms: int) -> tuple[bytes, bytes | None]:
    """Key and value of one mark; most are good."""
    at_ms = received_ms - draw(often((0, 0, 0, 100, 4_000, -60_000)))
    kind = draw(st.integers(0, 29))
    if kind == 0:
        at_ms = received_ms + 60_001
    mark: dict[str, Any] = {
        "kind": draw(often(("up", "alive", "alive", "alive", "alive", "down"))),
        "at_ms": at_ms,
        "heard_at_ms": at_ms - draw(often((0, 0, 10, 800, 5_000))),
        "connection": draw(often(("a", "b", "c"))),
        "channels": draw(often((list(channels), list(channels), [channels[0]], [channels[0]] * 2, channels[1:], []))),
    }
    if kind == 1:
        mark[draw(often(sorted(mark)))] = draw(often((None, -1, "", 1.0, 2**63, {}, [1])))
    if kind == 2:
        del mark[draw(often(sorted(mark)))]
    if kind == 3:
        mark["more"] = [1]
    value = json.dumps(mark).encode()
    if kind == 4:
        return MARK_KEY, draw(often((None, b"", b"\xff", b"up", value[:-1], b'{"channel":"x","data":[]}')))
    return MARK_KEY, value


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A raw partition of up to 60 messages."""
    windows = draw(
        often(
            (
                (("1s", 1_000),),
                (("1s", 1_000), ("3s", 3_000), ("7s", 7_000)),
                (("7s", 7_000), ("1s", 1_000)),
                (("5s", 5_000), ("10s", 10_000)),  # they often end together
            )
        )
    )
    wanted = OracleSettings(
        windows,
        grace_ms=draw(often((0, 1_000, 5_000))),
        mark_delay_ms=draw(often((0, 2_000, 10_000))),
        assume_coverage=draw(st.booleans()),
        prefix=PREFIX,
    )
    topic, channels = draw(
        often(
            (
                (TOPICS.raw_liquidations, (LIQUIDATIONS, RENAMED_LIQUIDATIONS)),
                (TOPICS.raw_trades, MARKETS),
                (TOPICS.raw_trades, MARKETS),
            )
        )
    )
    with_marks = draw(st.booleans())
    now_ms, offset, records = EPOCH_MS, draw(often((0, 5, 2**40))), []
    for _ in range(draw(st.integers(0, 60))):
        now_ms += draw(often((0, 0, 1, 40, 300, 700, 1_000, 2_500, -400, 8_000, 61_000, 10_000_000)))
        is_mark = with_marks and draw(st.integers(0, 2)) == 0
        key, value = draw(marks(channels, now_ms) if is_mark else frames(channels, now_ms))
        records.append(Raw(topic, PARTITION, offset, now_ms, key, value))
        offset += draw(often((1, 1, 1, 2, 50)))  # transactions and compaction leave holes
    return Case(records, wanted)


hostile = settings(
    max_examples=120,
    deadline=None,  # two noisy cores
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
)


@hostile
@given(cases())
def test_any_raw_partition_turns_into_what_the_contract_says(case: Case) -> None:
    results, _ = run(case, (), ())
    assert_as_the_oracle_says(case, results)


@hostile
@given(cases(), st.randoms(use_true_random=False))
def test_results_do_not_depend_on_batches_or_restarts(case: Case, chance: random.Random) -> None:
    in_one = run(case, (), ())
    for splits, restarts in ways_to_split(len(case.records), chance):
        assert run(case, splits, restarts) == in_one


def ways_to_split(count: int, chance: random.Random) -> Iterator[tuple[list[int], list[bool]]]:
    """Yield places to split at, and after which of the batches to begin anew."""
    for size in (1, 7):
        splits = list(range(size, count, size))
        yield splits, [False] * len(splits)
        yield splits, [True] * len(splits)
        yield splits, [chance.random() < 0.2 for _ in splits]
    for _ in range(3):
        splits = sorted(chance.sample(range(count + 1), chance.randint(0, min(count, 6))))
        yield splits, [chance.random() < 0.5 for _ in splits]


@pytest.fixture(scope="module", params=[LIQUIDATIONS, "futures_trades"])
def long_case(request: pytest.FixtureRequest) -> Case:
    """Some 21,000 messages, mostly good: more than one batch of 20,000, some hundred windows, many keys."""
    chance = random.Random(20240904)
    is_trades = request.param != LIQUIDATIONS
    channels = MARKETS if is_trades else (LIQUIDATIONS,)
    topic = TOPICS.raw_trades if is_trades else TOPICS.raw_liquidations
    records, now_ms = [], EPOCH_MS
    for offset in range(21_000):
        now_ms += chance.randrange(30)
        if offset % 70 == 0:
            kind = "up" if offset % 2_100 == 0 else "down" if offset % 2_100 == 1_400 else "alive"
            connection = f"connection-{offset // 1_050}"
            heard_ms = now_ms - chance.randrange(1_200)
            mark = {"kind": kind, "at_ms": now_ms, "heard_at_ms": heard_ms, "connection": connection}
            mark["channels"] = channels
            records.append(Raw(topic, PARTITION, offset, now_ms, MARK_KEY, json.dumps(mark).encode()))
            continue
        channel = chance.choice(channels)
        data = [
            {
                "baseAsset": chance.choice(("BTC", "ETH", "SOL", f"A{offset % 40}")),
                "exName": "Binance",
                "price": round(chance.uniform(0.01, 90_000), chance.randrange(9)) or 1,
                "side": chance.choice((1, 2)),
                "symbol": "S",
                "time": now_ms - int(chance.expovariate(1 / 900)),
                "volUsd": round(chance.lognormvariate(9, 3), chance.randrange(10)),
            }
            for _ in range(chance.choice((1, 1, 1, 2, 6)))
        ]
        value = json.dumps({"channel": channel, "data": data}).encode()
        records.append(Raw(topic, PARTITION, offset, now_ms, channel.encode(), value))
    windows = (("1s", 1_000), ("3s", 3_000), ("7s", 7_000))
    return Case(records, OracleSettings(windows, grace_ms=2_000, mark_delay_ms=3_000, prefix=PREFIX))


def test_a_long_partition_agrees_with_the_oracle_however_it_is_split(long_case: Case) -> None:
    in_one = run(long_case, (), ())
    assert_as_the_oracle_says(long_case, in_one[0])
    assert len(in_one[0]) > 5_000
    count, chance = len(long_case.records), random.Random(11)
    for size in (1, 7, 20_000):
        splits = list(range(size, count, size))
        restarts = [chance.random() < 20 / len(splits) for _ in splits]
        assert run(long_case, splits, restarts) == in_one


def frame_raw(offset: int, at_ms: int, more: bytes = b"") -> Raw:
    """A frame with one liquidation, received when it happened."""
    record = {"baseAsset": "BTC", "exName": "X", "price": 2, "side": 1, "symbol": "S", "time": at_ms, "volUsd": 5}
    value = json.dumps({"channel": LIQUIDATIONS, "data": [record]}).encode()[:-1] + more + b"}"
    return Raw(TOPICS.raw_liquidations, PARTITION, offset, at_ms, LIQUIDATIONS.encode(), value)


def mark_raw(offset: int, at_ms: int, kind: str) -> Raw:
    """A mark of the only connection."""
    mark = {"kind": kind, "at_ms": at_ms, "heard_at_ms": at_ms, "connection": "c", "channels": [LIQUIDATIONS]}
    return Raw(TOPICS.raw_liquidations, PARTITION, offset, at_ms, MARK_KEY, json.dumps(mark).encode())


SECONDS = OracleSettings((("1s", 1_000),), grace_ms=0, mark_delay_ms=0, prefix=PREFIX)


def test_a_restart_after_a_day_without_marks_changes_no_coverage() -> None:
    late_ms = EPOCH_MS + 2 * 86_400_000
    records = [
        mark_raw(0, EPOCH_MS, "up"),
        frame_raw(1, EPOCH_MS + 100),
        frame_raw(2, late_ms + 100),
        mark_raw(3, late_ms + 500, "alive"),
        frame_raw(4, late_ms + 1_500),
    ]
    case = Case(records, SECONDS)
    assert run(case, (1, 3), (False, True)) == run(case, (), ())


def test_how_deep_a_frame_is_nested_is_judged_alike_at_any_depth_of_the_stack() -> None:
    depths = range(100, 1_000, 100)
    nested = [b',"x":' + b"[" * depth + b"]" * depth for depth in depths]
    records = [frame_raw(offset, EPOCH_MS, more) for offset, more in enumerate(nested)]

    def run_deeper(calls: int) -> list[Result]:
        return run(Case(records, SECONDS), (), ())[0] if calls == 0 else run_deeper(calls - 1)

    assert [result.value for result in run_deeper(400)] == [result.value for result in run_deeper(0)]


@pytest.mark.parametrize(
    "value", [b"1e999", b"1" * 5_000, b"[" * 60 + b"]" * 60], ids=["1e999", "5000 digits", "60 deep"]
)
def test_an_unknown_field_is_accepted_whatever_json_it_holds(value: bytes) -> None:
    case = Case([frame_raw(0, EPOCH_MS, b',"x":' + value), frame_raw(1, EPOCH_MS + 5_000)], SECONDS)
    assert_as_the_oracle_says(case, run(case, (), ())[0])
