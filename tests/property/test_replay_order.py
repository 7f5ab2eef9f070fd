"""A replay's results and their order depend on the records alone, not on how they are read, cut up or spread."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.engine.step import Result
from processors.pipeline import PipelineSettings
from processors.replay import run
from processors.replay.ordered import Ordered, Replayed
from processors.replay.partition import Origin, ReplayedPartition
from processors.replay.plan import Stretch, split, total_records
from processors.replay.ranges import Range
from processors.replay.run import Advance, merged
from processors.replay.settings import ReplaySettings
from processors.windows import WindowSize
from schemas.topics import Topics
from tests.oracle import OracleSettings, expect
from tests.unit.processors.records import NOW_MS, Raw, frame, item

TOPIC = "coinglass.raw.liquidations"
SETTINGS = ReplaySettings(PipelineSettings(Topics(), (WindowSize("1s", 1_000),), grace_ms=500))


@st.composite
def records(draw, partition):
    """Records of one partition, their receive times going back now and then."""
    made, at_ms = [], NOW_MS
    for offset in range(draw(st.integers(0, 25))):
        at_ms += draw(st.integers(-300, 900))
        one = frame(item(at_ms - draw(st.integers(-200, 3_000))), received=at_ms, offset=offset)
        if draw(st.integers(0, 9)) == 0:
            one.value = b"no frame"
        made.append(Raw(offset, at_ms, one.key, one.value))
    return made


partitions = st.tuples(*(records(p) for p in range(3)))


class Fake:
    """Partitions read in batches of drawn sizes, in drawn order."""

    def __init__(self, draw, recorded, asked):
        self._draw = draw
        self._left = dict(enumerate(recorded))
        self._partitions = {p: ReplayedPartition(asked, Origin(TOPIC, p)) for p in self._left}

    @property
    def names(self):
        return self._partitions

    def advance(self, wanted):
        partition = self._draw(st.sampled_from(sorted(wanted)))
        count = self._draw(st.integers(1, 30))
        batch, self._left[partition] = self._left[partition][:count], self._left[partition][count:]
        one = self._partitions[partition]
        results = one.apply(batch)
        if not self._left[partition] or one.ended:
            results += one.finish()
        return [Advance(partition, results, one.frontier, len(batch), one.ended)]


def replayed(draw, recorded, asked=SETTINGS):
    return [one for step in merged(Fake(draw, recorded, asked)) for one in step.results]


@settings(max_examples=60, deadline=None)
@given(partitions, st.data())
def test_the_order_is_the_same_however_partitions_are_read(recorded, data):
    one, other = replayed(data.draw, recorded), replayed(data.draw, recorded)
    assert one == other
    assert [r.place for r in one] == sorted(r.place for r in one)
    for partition, raw in enumerate(recorded):
        ours = [r.result.value for r in one if r.place[2] == partition and "liquidation-volume" in r.result.topic]
        oracle = expect([_of(partition, r) for r in raw], OracleSettings((("1s", 1_000),), grace_ms=500))
        assert len(ours) == sum(map(len, oracle.finals.values()))


def _of(partition, raw):
    raw.topic, raw.partition = TOPIC, partition
    return raw


@settings(max_examples=60, deadline=None)
@given(partitions, st.integers(-1_000, 12_000), st.integers(1, 8_000), st.data())
def test_what_a_range_calls_whole_has_the_bytes_of_the_whole(recorded, begin, length, data):
    everything = replayed(data.draw, recorded)
    span = Range(NOW_MS + begin, NOW_MS + begin + length)
    asked = ReplaySettings(SETTINGS.pipeline, range=span, flush=True)
    some = replayed(data.draw, recorded, asked)
    assert [r for r in some if not r.partial] == [r for r in everything if span.holds(r.available_at_ms) and r in some]
    assert all(span.holds(r.available_at_ms) for r in some)


def test_a_result_waits_for_whoever_could_bring_an_earlier_one():
    ordered = Ordered(["a", "b"])
    late, early = (Replayed((ms, "t", 0), Result("t", None, None, ms)) for ms in (20, 10))
    ordered.add("a", [late], (20, "t", 0))
    assert ordered.release() == []
    ordered.add("b", [early], (15, "t", 1))
    assert ordered.release() == [early]
    ordered.end("b")
    assert ordered.release() == [late]
    assert (ordered.held, ordered.held_bytes) == (0, 0)


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=12), st.integers(1, 5))
@example([0, 0], 2)  # partitions without records are spread too
def test_partitions_are_spread_over_jobs_and_none_is_lost(counts, jobs):
    plan = tuple(Stretch("t", number, 0, count, cut=False) for number, count in enumerate(counts))
    shares = split(plan, jobs)
    assert sorted(s.partition for share in shares for s in share) == list(range(len(counts)))
    assert len(shares) == min(jobs, len(plan))
    assert sum(map(total_records, shares)) == sum(counts)


class Uneven:
    """Two partitions, each record a result, of which one is far ahead of the other whenever it may be read."""

    def __init__(self):
        self.names = ["ahead", "behind"]
        self.asked, self._at = [], {"ahead": 0, "behind": 0}

    def advance(self, wanted):
        self.asked.append(wanted)
        for number, name in enumerate(self.names):
            if name in wanted:
                some = 50 if name == "ahead" else 1
                times = range(self._at[name], min(self._at[name] + some, 200))
                self._at[name] = times.stop
                results = [Replayed((ms, "t", number), Result("t", None, None, ms)) for ms in times]
                yield Advance(name, results, (times.stop, "t", number), some, times.stop == 200)


def test_what_waits_for_the_slowest_is_bounded(monkeypatch):
    monkeypatch.setattr(run, "HELD_RESULTS_MAX", 20)
    streams = Uneven()
    held, given, times = 0, 0, []
    for step in merged(streams):
        given += len(step.results)
        times += [one.available_at_ms for one in step.results]
        held = max(held, sum(streams._at.values()) - given)
    assert held <= 20 + 50
    assert {"behind"} in streams.asked
    assert times == sorted([*range(200), *range(200)])
