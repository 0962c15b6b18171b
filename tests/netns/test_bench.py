"""The bench measures truthfully: what it sends is what is counted, and what a forwarder does wrong shows."""

import json

import pytest

from bench.__main__ import main
from bench.arena import FIRST_GROUP, Arena, Terms
from bench.contestants import BUILT_IN, Bridge, Igmpproxy, Kernel, Nothing
from bench.record import Record
from bench.variants import Direct, Idle
from forwarder.lab import links
from forwarder.lab.topology import LINK

KIND = pytest.mark.parametrize("kind", ["udp", "packet"])


@pytest.fixture(params=["blocking", "polled"])
def bridge(stack, request):
    flooding = Bridge("bridge-flooding", snooping=False)
    return stack.enter_context(Arena(flooding, Terms(ports=2, groups=3, receivers=request.param)))


@KIND
def test_every_datagram_is_counted_at_every_port(bridge, kind):
    stream = bridge.streams(3)
    sent = bridge.source.send(*bridge.groups, rate=5000, count=1000, stream=stream, kind=kind)
    report = bridge.receivers.wait([1000, 1000])
    assert (sent.count, report.received, report.complete) == (1000, [1000, 1000], True)
    assert report.by_stream == [sent.streams, sent.streams]
    assert (report.lost, report.duplicated, report.reordered) == ([0, 0], [0, 0], [0, 0])
    assert (report.damaged, report.stray, report.socket_drops) == (0, 0, [0, 0])


@pytest.mark.parametrize("size", [18, 24, 1316])
def test_frames_of_all_sizes_are_whole(bridge, size):
    stream = bridge.streams(3)
    bridge.source.send(*bridge.groups, rate=3000, count=300, stream=stream, size=size)
    report = bridge.receivers.wait([300, 300])
    assert (report.received, report.damaged) == ([300, 300], 0)


def test_a_source_that_segments_sends_the_same_datagrams(bridge):
    stream = bridge.streams(3)
    sent = bridge.source.send(*bridge.groups, rate=5000, count=1200, stream=stream, segments=40)
    report = bridge.receivers.wait([1200, 1200])
    assert (sent.count, report.received, report.lost) == (1200, [1200, 1200], [0, 0])


def test_a_port_that_is_cut_off_shows(bridge):
    links.down(bridge.lab.router, bridge.lab.downstreams[1])
    trial = bridge.trial(1000)
    assert not trial.lossless
    assert trial.note.startswith("received 0..")


def test_datagrams_that_come_twice_are_no_throughput(bridge):
    first = bridge.streams(1)
    for _ in range(2):
        bridge.source.send(FIRST_GROUP, rate=5000, count=500, stream=first)
    report = bridge.receivers.wait([1000, 1000])
    assert (report.received, report.duplicated) == ([500, 500], [500, 500])


def test_an_endless_transmission_is_stopped(bridge):
    bridge.source.start(FIRST_GROUP, rate=2000, stream=bridge.streams(1))
    sent = bridge.source.stop()
    assert bridge.receivers.wait([sent.count] * 2).received == [sent.count] * 2


@pytest.mark.parametrize("by", ["kernel", "application"])
def test_latency_is_positive_and_small_without_a_forwarder(stack, by):
    direct = stack.enter_context(Direct(Nothing(), Terms(ports=1)))
    found = direct.latency(500, 0.5, by)
    assert found.all["count"] > 100
    assert 0 < found.all["min"] <= found.all["median"] < 0.1


def test_an_idle_lab_has_a_source_and_no_receivers(stack):
    idle = stack.enter_context(Idle(Nothing(), Terms(ports=1)))
    sent = idle.source.send(FIRST_GROUP, rate=0, seconds=0.1, size=1316)
    assert sent.count > 100
    assert not any(idle.receivers.report().received)


@pytest.mark.parametrize("contestant", BUILT_IN, ids=lambda each: each.name)
def test_every_contestant_forwards_in_its_arena(stack, contestant):
    terms = Terms(ports=2, groups=2, seconds=0.3)
    if reason := contestant.obstacle(terms.ports, terms.groups):
        pytest.skip(reason)
    arena = stack.enter_context(Arena(contestant, terms))
    assert arena.trial(500).offered > 0
    assert arena.load(500, 0.4, settle=0.1).share > 0
    if contestant.name.startswith("mcfwd"):
        assert "mcfwd-worker-0" in arena.running.pids()


@pytest.mark.parametrize("contestant", [Kernel(), Igmpproxy()], ids=lambda each: each.name)
def test_kernel_routes_end_with_the_arena(stack, contestant):
    if reason := contestant.obstacle(1, 1):
        pytest.skip(reason)
    with Arena(contestant, Terms(ports=1)) as arena:
        assert len(links.names(arena.lab.router)) >= 3
        assert links.attribute(arena.lab.source, LINK, "IFLA_OPERSTATE") == "UP"


def test_a_run_writes_its_record(tmp_path, capsys):
    assert main(["join-delay", "--quick", "--against", "none", "--out", str(tmp_path), "--no-plots"]) == 0
    record = Record.from_json(json.loads((tmp_path / "result.json").read_text()))
    assert record.values("join-delay", "mcfwd", "median")
    assert record.about["machine"]["cores"] >= 1
    assert "join-delay" in capsys.readouterr().out
