"""The bench measures truthfully: what it sends is what is counted, and what a forwarder does wrong shows."""

import json
import os
import socket
import struct

import pytest

from bench import busy
from bench.__main__ import main
from bench.arena import FIRST_GROUP, Arena, Terms
from bench.bank import Socket
from bench.contestants import BUILT_IN, Bridge, Igmpproxy, Kernel, Limit, Nothing
from bench.contestants.base import missing
from bench.peers.snooping import Bridge as Snooped
from bench.record import Record
from bench.suites.iperf import Bare, transmit
from bench.variants import Direct, Fed, Idle
from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

pytestmark = pytest.mark.slow   # a minute and a half, of what no user meets

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


# the C program


@pytest.fixture
def limit(stack):
    """The program and two receivers of three groups."""
    contestant = Limit()
    if reason := contestant.obstacle(2, 3):
        pytest.skip(reason)
    return stack.enter_context(Arena(contestant, Terms(ports=2, groups=3)))


@pytest.mark.parametrize("segments", [1, 40], ids=["single", "super-frames"])
def test_the_c_program_carries_every_datagram_to_every_port(limit, segments):
    before = limit.running.counts()
    sent = limit.source.send(
        *limit.groups, rate=20_000, count=4000, stream=limit.streams(3), size=1316, segments=segments
    )
    report = limit.receivers.wait([4000, 4000])
    assert report.by_stream == [sent.streams, sent.streams]
    assert (report.lost, report.duplicated, report.reordered, report.damaged) == ([0, 0], [0, 0], [0, 0], 0)
    counted = {name: value - before[name] for name, value in limit.running.counts().items()}
    assert (counted["sent"], counted["transmit_failed"], counted["ring_full"]) == (8000, 0, 0)
    assert counted["received"] == 4000 / segments
    assert counted["merged"] == (counted["received"] if segments > 1 else 0)


def test_the_c_program_s_threads_keep_every_flow_in_order(stack):
    """From eight ports on several send; each port has every datagram once and in order."""
    contestant = Limit()
    if reason := contestant.obstacle(9, 2):
        pytest.skip(reason)
    arena = stack.enter_context(Arena(contestant, Terms(ports=9, groups=2)))
    arena.source.send(*arena.groups, rate=10_000, count=3000, stream=arena.streams(2), size=1316)
    report = arena.receivers.wait([3000] * 9)
    assert (report.received, report.reordered, report.duplicated) == ([3000] * 9, [0] * 9, [0] * 9)
    assert report.damaged == 0


def test_the_c_program_takes_a_hop_and_its_port_s_address(limit):
    with Capture(limit.lab.receivers[1], LINK, UDP) as capture:
        limit.source.send(FIRST_GROUP, rate=20_000, count=200, stream=limit.streams(1), size=100)
        frame = capture.wait_for(lambda frame: not frame.outgoing, 5.0)
    own = links.attribute(limit.lab.router, limit.lab.downstreams[1], "IFLA_ADDRESS")
    assert (frame.ttl, frame.octets[6:12].hex(":")) == (15, own)
    assert frame.octets[:6].hex(":") == "01:00:5e:01:00:01"


def test_the_c_program_forwards_neither_a_last_hop_nor_a_link_local_group(limit):
    before = limit.running.counts()
    limit.lab.source.run(_send, "224.0.0.251", 16)
    limit.lab.source.run(_send, FIRST_GROUP, 1)
    counts = wait_for(lambda: _further(limit.running, before), 5.0, "both datagrams")
    assert counts["sent"] == before["sent"]


def _further(running, before):
    counts = running.counts()
    return counts if counts["passed_over"] >= before["passed_over"] + 2 else None


def _send(group, ttl):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("4s4si", b"", b"", socket.if_nametoindex(LINK))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.sendto(b"x", (group, 5000))


def test_damage_is_carried_as_damage(limit):
    """Segmentation would give a damaged datagram a right checksum: it goes as it is, and no receiver gets it."""
    limit.lab.source.run(_send_damaged, 50)
    wait_for(lambda: limit.running.counts()["ring_full"] == 0 and _errors(limit) >= 50, 5.0, "checksum errors")


def _send_damaged(count):
    """Finished UDP checksums, all wrong, from a raw socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        request = struct.pack("4s4si", b"", b"", socket.if_nametoindex(LINK))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        addresses = socket.inet_aton("10.0.0.1") + socket.inet_aton(FIRST_GROUP)
        ipv4 = struct.pack("!BBHHHBBH", 0x45, 0, 48, 0, 0x4000, 16, 17, 0) + addresses
        for _ in range(count):
            sock.sendto(ipv4 + struct.pack("!HHHH", 4000, 5000, 28, 0x1234) + bytes(20), (FIRST_GROUP, 0))


def _errors(arena):
    lines = arena.lab.receivers[0].read_proc("snmp").splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["InCsumErrors"])


# other ends


@pytest.mark.parametrize("segments", [1, 40])
def test_receivers_can_be_fed_without_a_forwarder(stack, segments):
    fed = stack.enter_context(Fed(Nothing(), Terms(ports=3, sender="packet", segments=segments)))
    stream = fed.streams(1)
    fed.source.send(FIRST_GROUP, rate=20_000, count=2000, stream=stream, kind="packet", segments=segments)
    report = fed.receivers.wait([2000] * 3)
    assert (report.received, report.lost, report.damaged) == ([2000] * 3, [0] * 3, 0)


def test_a_receiver_has_the_default_buffer_or_a_large_one(lab):
    namespace = lab.receivers[0]
    default, large = (
        Socket(os.dup(namespace.fd), LINK, port, buffer).sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        for port, buffer in ((5000, None), (5001, 1 << 20))
    )
    assert default == namespace.run(fresh_socket_buffer) < large


def fresh_socket_buffer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_a_stream_stamped_as_it_is_due_has_a_latency_for_every_datagram(stack):
    direct = stack.enter_context(Direct(Nothing(), Terms(ports=1, receivers="polled")))
    found = direct.latency(20_000, 0.3, stamp="together")
    assert found.all["count"] > 4000
    assert 0 < found.all["min"] <= found.all["median"] < 0.5


def test_a_link_that_gathers_brings_super_frames_and_loses_nothing(stack):
    contestant = Limit()
    if reason := contestant.obstacle(1, 1) or missing("ethtool", "ethtool"):
        pytest.skip(reason)
    arena = stack.enter_context(Arena(contestant, Terms(ports=1, merge=0.0002)))
    before = arena.running.counts()
    arena.source.send(FIRST_GROUP, rate=10_000, count=4000, stream=arena.streams(1), size=1316)
    assert arena.receivers.wait([4000]).received == [4000]
    counts = arena.running.counts()
    assert counts["sent"] - before["sent"] == 4000
    assert counts["received"] - before["received"] < 1000
    assert counts["merged"] > before["merged"]


def test_a_snooping_bridge_has_opened_only_the_ports_that_asked(stack):
    contestant = Bridge()
    if reason := contestant.obstacle(2, 1):
        pytest.skip(reason)
    arena = stack.enter_context(Arena(contestant, Terms(ports=2)))
    arena.receivers.leave(FIRST_GROUP, receivers=[1])
    bridge = Snooped(arena.lab.router)
    wait_for(lambda: set(bridge.ports(FIRST_GROUP)) == {"down0"}, 10.0, "one port")
    arena.source.send(FIRST_GROUP, rate=1000, count=100, stream=arena.streams(1))
    assert arena.receivers.wait([100, 100]).received == [100, 0]


def test_iperf_counts_what_came(stack):
    if reason := missing("iperf", "iperf") or Kernel().obstacle(2, 1):
        pytest.skip(reason)
    arena = stack.enter_context(Bare(Kernel(), Terms(ports=2)))
    for lost, total in transmit(arena, 5, 1):
        assert 400 < total < 500
        assert lost < total


def test_who_is_busy_is_told_apart(limit):
    found = busy.measure(limit, 5000, 0.5)
    assert found.delivered == pytest.approx(2 * 5000, rel=0.2)
    assert 0 < found.processes < found.machine
    assert found.source > 0
    assert found.receivers > 0
