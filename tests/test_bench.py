"""The bench without a lab: search, counting, latency, records, checks, selection."""

import json
import os
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import numbered
from bench.__main__ import main, parse, plan_of
from bench.checks import CHECKS, outcome, outcomes
from bench.contestants import BUILT_IN, McfwdContestant, select
from bench.contestants.base import missing
from bench.harness import Bench, Plan, reason
from bench.record import Record, figure, spread
from bench.report import compare
from bench.sampling import sampler
from bench.search import Trial, highest_lossless
from bench.send import Block, Offer
from bench.spread import Latencies, distribution
from bench.suites import scenarios
from bench.suites import select as select_scenarios
from bench.suites.iperf import lost_of
from bench.tally import Tally

# the search


@given(limit=st.floats(200, 900000), start=st.floats(1000, 50000), step=st.sampled_from([1.12, 1.6, 2.0]))
def test_the_search_finds_the_limit_of_a_forwarder(limit, start, step):
    best = highest_lossless(lambda rate: Trial(rate, rate, rate <= limit), start, 1e6, step=step)
    assert 0.96 * limit <= best.offered <= limit


@given(limit=st.floats(5000, 500000), miss=st.floats(0.8, 1.25))
def test_a_search_that_begins_near_the_limit_takes_few_trials(limit, miss):
    rates = []

    def trial(rate):
        rates.append(rate)
        return Trial(rate, rate, rate <= limit)

    highest_lossless(trial, limit * miss, 2e6, resolution=0.05, step=1.12)
    assert len(rates) <= 10


def test_the_search_stops_where_the_sender_is_at_its_end():
    best = highest_lossless(lambda rate: Trial(rate, min(rate, 70000), True), 20000, 1e6)
    assert best.offered == 70000


def test_a_single_hiccup_does_not_end_the_search():
    trials = []

    def trial(rate):
        trials.append(rate)
        return Trial(rate, rate, rate < 30000 and len(trials) != 1)

    assert highest_lossless(trial, 20000, 1e6).offered > 29000


def test_a_forwarder_that_always_loses_has_no_rate():
    assert highest_lossless(lambda rate: Trial(rate, rate, False), 20000, 1e6) is None


# datagrams


def headers(stream, sequences, length):
    rows = np.zeros(len(sequences), numbered.HEADER)
    rows["stream"], rows["sequence"] = stream, sequences
    numbered.seal(rows, length)
    return rows.view(np.uint64).reshape(len(rows), 3).copy()


@given(
    stream=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**62),
    length=st.integers(16, 65507),
    bit=st.integers(0, 127),
)
def test_any_altered_bit_of_a_header_shows(stream, sequence, length, bit):
    words = headers(stream, [sequence], length)
    assert numbered.intact(words, np.array([length])).all()
    words[0, bit // 64] ^= np.uint64(1 << bit % 64)
    assert not numbered.intact(words, np.array([length])).any()


def test_a_cut_datagram_shows():
    assert not numbered.intact(headers(1, [5], 1316), np.array([1315])).any()


def test_the_smallest_frame_of_the_rfcs_has_room_for_the_numbers():
    assert numbered.payload(64) >= numbered.SMALLEST


@pytest.mark.parametrize(("streams", "segments"), [(1, 1), (3, 1), (1, 8), (3, 8)])
def test_a_block_numbers_every_stream_without_gaps(streams, segments):
    offer = Offer(["lo"], [f"239.1.1.{n + 1}" for n in range(streams)], size=200, stream=7, segments=segments)
    block = Block(offer)
    seen = {}
    for turn in range(2):
        block.fill(turn * block.capacity)
        for at in range(block.capacity):
            words = np.frombuffer(bytes(block.octets(at)[:24]), np.uint64).reshape(1, 3)
            assert numbered.intact(words, np.array([200])).all()
            stream = int(numbered.streams(words)[0])
            assert int(words[0, 1]) == seen.get(stream, 0)
            seen[stream] = seen.get(stream, 0) + 1
    assert sorted(seen) == list(range(7, 7 + streams))


# counting


class Reference:
    """One receiver and stream, the slow way."""

    def __init__(self):
        self.seen, self.highest = set(), -1
        self.duplicated = self.reordered = 0

    def add(self, sequence):
        if sequence in self.seen:
            self.duplicated += 1
        else:
            self.reordered += sequence < self.highest
        self.seen.add(sequence)
        self.highest = max(self.highest, sequence)

    @property
    def lost(self):
        return self.highest + 1 - len(self.seen)


arrivals = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 40)), max_size=120)


@given(arrivals=arrivals, cuts=st.lists(st.integers(0, 120), max_size=4))
def test_counting_together_is_counting_one_by_one(arrivals, cuts):
    tally = Tally(3, first=10, streams=2)
    reference = {(receiver, stream): Reference() for receiver in range(3) for stream in range(2)}
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(arrivals)], strict=True):
        part = sorted(arrivals[start:end], key=lambda each: each[0])  # a sweep takes one receiver after the other
        if part:
            owners, streams, sequences = np.array(part, np.int64).T
            assert tally.add(owners, streams + 10, sequences).all()
        for receiver, stream, sequence in part:
            reference[receiver, stream].add(sequence)
    for receiver in range(3):
        both = [reference[receiver, stream] for stream in range(2)]
        assert tally.received[receiver].tolist() == [len(each.seen) for each in both]
        assert tally.lost[receiver] == sum(each.lost for each in both)
        assert tally.duplicated[receiver] == sum(each.duplicated for each in both)
        assert tally.reordered[receiver] == sum(each.reordered for each in both)


def test_datagrams_of_another_trial_are_strays():
    tally = Tally(1, first=5, streams=1)
    ours = tally.add(np.array([0, 0]), np.array([4, 5]), np.array([9, 0]))
    assert ours.tolist() == [False, True]
    assert (tally.stray.tolist(), tally.received.tolist()) == ([1], [[1]])


# latency


def test_the_spread_is_between_the_first_and_the_last_port_of_each_datagram():
    latencies = Latencies(2)
    latencies.add(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5000, 1000, 4000]))
    latencies.add(np.array([1]), np.array([0]), np.array([6000]))
    summary = latencies.summary()
    assert summary["spread"]["count"] == 2
    assert summary["spread"]["max"] == pytest.approx(3e-6)
    assert summary["ports"][1]["min"] == pytest.approx(4e-6)


def test_no_sample_is_no_error():
    assert Latencies(3).summary()["all"]["count"] == 0
    assert distribution(np.array([]))["median"] == 0.0


# records and checks


def record_of(scenario, contestant, metric, *values):
    record = Record()
    for value in values:
        record.add(scenario, contestant, metric, "pps", value)
    record.seconds[scenario] = 1.0
    return record


def test_a_record_survives_json():
    record = record_of("throughput-4", "mcfwd", "rate", 3.0, 1.0, 2.0)
    record.skipped["throughput-4", "kernel"] = "not here"
    record.about["machine"] = {"cores": 2}
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert again == record
    assert again.rows["throughput-4", "mcfwd", "rate"].median == 2.0


def test_another_file_is_refused():
    with pytest.raises(ValueError, match="not a result"):
        Record.from_json({"format": 0})


def test_a_ratio_is_taken_pair_by_pair():
    record = record_of("throughput-4", "mcfwd", "rate", 300.0, 800.0, 900.0)
    for value in (100.0, 200.0, 100.0):
        record.add("throughput-4", "kernel", "rate", "pps", value)
    check = next(each for each in CHECKS if each.name == "throughput-4")
    found = outcome(check, record)
    assert list(found.values) == [3.0, 4.0, 9.0]
    assert (found.measured, found.verdict) == (4.0, "floor")


def test_a_check_without_its_opponent_is_not_measured_and_says_why():
    record = record_of("throughput-4", "mcfwd", "rate", 300.0)
    record.skipped["throughput-4", "kernel"] = "smcrouted is not installed"
    (found,) = outcomes(record)
    assert (found.verdict, found.reason) == ("not measured", "smcrouted is not installed")


@pytest.mark.parametrize(("cores", "verdict"), [(0.001, "goal"), (0.004, "floor"), (0.006, "missed")])
def test_less_is_better_where_it_is(cores, verdict):
    (found,) = outcomes(record_of("cpu-idle", "mcfwd", "processes", cores))
    assert found.verdict == verdict


def two_rows(scenario, metric, ours, theirs, other="kernel"):
    record = record_of(scenario, "mcfwd", metric, *ours)
    for value in theirs:
        record.add(scenario, other, metric, "", value)
    return record


def check_named(name):
    return next(each for each in CHECKS if each.name == name)


@pytest.mark.parametrize(
    ("ours", "theirs", "measured", "verdict"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0.0, "goal"),
        ([0.0, 0.3, 0.0], [0.0, 0.3, 0.1], 0.0, "goal"),
        ([0.1, 0.0, 0.0], [0.0, 0.0, 0.0], 0.1, "floor"),  # once is enough, where a median would not see it
        ([0.0, 0.0, 0.4], [0.1, 0.0, 0.0], 0.4, "missed"),
    ],
)
def test_loss_is_what_the_kernel_does_not_lose_and_the_worst_pair_counts(ours, theirs, measured, verdict):
    found = outcome(check_named("iperf-100"), two_rows("iperf", "lost at 100 Mbit/s", ours, theirs))
    assert (found.measured, found.verdict) == (pytest.approx(measured), verdict)


def test_latency_under_load_is_compared_with_the_c_program_in_milliseconds():
    record = two_rows("latency-20000", "median", [0.0024, 0.0030, 0.0026], [0.0021] * 3, "limit")
    found = outcome(check_named("latency-20000-median"), record)
    assert found.measured == pytest.approx(0.5)
    assert found.verdict == "goal"


@pytest.mark.parametrize(("seconds", "verdict"), [(0.9e-6, "goal"), (1.4e-6, "floor"), (3.4e-6, "missed")])
def test_own_time_is_a_matter_of_microseconds_for_each_datagram(seconds, verdict):
    assert outcome(check_named("cpu-own-20k"), record_of("cpu-own-20k", "mcfwd", "user", seconds)).verdict == verdict


def test_a_scenario_that_was_left_out_as_a_whole_says_why():
    record = Record(seconds={"iperf": 0.1})
    record.skipped["iperf", "all"] = "iperf is not installed (apt-get install iperf)"
    assert {each.reason for each in outcomes(record)} == {"iperf is not installed (apt-get install iperf)"}


def test_a_program_that_fails_is_left_out_with_what_it_said():
    said = "Error: Could not process rule: Operation not supported\ntable netdev copies\n"
    error = subprocess.CalledProcessError(1, ("/usr/sbin/nft", "table ..."), said)
    assert reason(error) == "nft: Error: Could not process rule: Operation not supported"
    assert reason(OSError(1, "not permitted")) == "PermissionError: [Errno 1] not permitted"
    assert reason(subprocess.CalledProcessError(1, ("tc",))).startswith("CalledProcessError: ")


def test_every_check_has_its_scenario_in_the_default_plan():
    measured = {scenario.name for scenario in scenarios(Plan()) if scenario.table}
    assert {check.a[0] for check in CHECKS} == measured
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_change_within_the_spread_is_in_brackets():
    old, new = record_of("a", "b", "rate", 90.0, 100.0, 110.0), record_of("a", "b", "rate", 104.0, 105.0, 106.0)
    assert list(compare(old, new).columns[5].cells) == ["(+5.0 %)"]
    assert list(compare(old, record_of("a", "b", "rate", 200.0)).columns[5].cells) == ["+100.0 %"]


def test_figures_have_few_digits():
    assert [figure(value) for value in (52613.2, 168.4, 2.345, 0.00012)] == ["52,613", "168", "2.35", "0.00012"]
    assert spread([1.0, 3.0]) == "1..3"


# what others say

IPERF = """------------------------------------------------------------
Server listening on UDP port 5001
Joining multicast (*,G)=*,239.1.0.1 w/iface eth0
------------------------------------------------------------
[  1] local 239.1.0.1 port 5001 connected with 10.0.0.1 port 41939
[ ID] Interval       Transfer     Bandwidth        Jitter   Lost/Total Datagrams
[  1] 0.0000-2.0000 sec  25.0 MBytes   105 Mbits/sec   0.004 ms {} ({})
"""


@pytest.mark.parametrize(
    ("counts", "share", "lost"),
    [
        ("0/17836", "0%", (0, 17836)),
        ("34/17836", "0.19%", (34, 17836)),
        ("5/   51", "9.8%", (5, 51)),
        ("-1/17836", "-0.0056%", (0, 17836)),
        ("0/0", "-nan%", (0, 0)),
    ],
)
def test_iperf_says_what_it_lost(counts, share, lost):
    assert lost_of(IPERF.format(counts, share)) == lost


def test_the_last_report_of_iperf_is_that_of_the_whole_stream():
    assert lost_of(IPERF.format("3/100", "3%") + IPERF.format("4/200", "2%")) == (4, 200)


def test_iperf_without_a_report_is_an_error():
    with pytest.raises(RuntimeError, match="no report"):
        lost_of("WARNING: did not receive ack of last datagram")


@pytest.mark.parametrize(("kind", "low", "high"), [("user", 0.7, 1.0), ("kernel", 0.0, 0.3)])
def test_run_time_is_divided_between_user_space_and_kernel(kind, low, high):
    zeros = os.open("/dev/zero", os.O_RDONLY)
    work = {"user": lambda: sum(range(20_000)), "kernel": lambda: os.readv(zeros, [memory])}[kind]
    memory = bytearray(1 << 20)
    try:
        with sampler([os.getpid()]) as samples:
            begun = time.thread_time()
            while time.thread_time() - begun < 0.2:
                work()
            assert low < samples.share() <= high
    except OSError as error:
        pytest.skip(f"no samples here: {error}")
    finally:
        os.close(zeros)


def test_a_program_that_is_missing_is_named_with_its_package():
    assert missing("no-such-program", "its-package") == "no-such-program is not installed (apt-get install its-package)"
    assert missing("sh", "dash") == ""


# selection


def test_names_choose_suites_scenarios_and_the_table():
    plan = Plan()
    assert [each.name for each in select_scenarios(plan, ["throughput-4", "leave"])] == ["throughput-4", "leave-delay"]
    assert all(each.table for each in select_scenarios(plan, ["table"]))
    assert {each.name for each in select_scenarios(plan, ["receivers"])} == {"default-buffers", "iperf"}
    assert [each.name for each in select_scenarios(plan, [])] == [each.name for each in scenarios(plan)]
    with pytest.raises(ValueError, match="no suite nonsense"):
        select_scenarios(plan, ["nonsense"])


def test_scenario_names_are_unique_in_every_plan():
    for level in ("quick", "default", "full"):
        names = [each.name for each in scenarios(Plan(level))]
        assert len(set(names)) == len(names)


def test_unknown_contestants_are_named(capsys):
    with pytest.raises(ValueError, match="no contestant vpp"):
        select(["vpp"], [])
    assert main(["--against", "vpp"]) == 2
    assert "no contestant vpp" in capsys.readouterr().err


def test_a_command_takes_part_everywhere():
    plan = plan_of(parse(["--command", "relay=/bin/relay {upstream}", "--against", "kernel"]))
    assert Bench(plan, {}, Record(), print).opponents() == ["kernel", "relay"]


def test_a_command_is_a_contestant():
    chosen = select([], ["relay=/no/such/relay {upstream} {downstreams}"])
    assert chosen["relay"].obstacle(4, 1) == "there is no program /no/such/relay"


def test_the_kernel_cannot_take_part_beyond_its_interfaces():
    for contestant in BUILT_IN:
        if contestant.name in ("kernel", "igmpproxy"):
            assert "32 interfaces" in contestant.obstacle(32, 1)


def test_a_setting_that_mcfwd_does_not_know_is_a_reason():
    reason = McfwdContestant("mcfwd-odd", ('profile = "odd"',)).obstacle(4, 1)
    assert reason.startswith('this mcfwd refuses profile = "odd": ')
    assert McfwdContestant().obstacle(4, 1) == ""


def test_options_change_the_plan():
    plan = plan_of(parse(["--quick", "--pairs", "3", "--seconds", "60", "--against", "none"]))
    assert (plan.level, plan.pairs, plan.seconds, plan.against) == ("quick", 3, 60.0, ())
