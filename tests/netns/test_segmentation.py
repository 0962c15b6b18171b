"""Super-datagrams on real links, with the features of the devices on and off: receivers get every datagram right."""

import os
from contextlib import ExitStack
from itertools import pairwise

import pytest

from bench.peers import daemon
from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, SOURCE
from forwarder.lab.wait import wait_for
from netns.frames import Injector, Member, Tunnel, udp, udp_sum, v2_report

GROUP = "239.9.1.1"
COUNT = 3000
FEATURES = [
    (),
    ("tx", "off"),
    ("tx-udp-segmentation", "off"),
    ("tx", "off", "tx-udp-segmentation", "off"),
    ("gso", "off", "sg", "off"),
]

NO_ETHTOOL = daemon.missing("ethtool", "ethtool")
pytestmark = pytest.mark.skipif(bool(NO_ETHTOOL), reason=NO_ETHTOOL)


def set_features(namespace: Namespace, name: str, features: tuple[str, ...]) -> None:
    if features:
        namespace.command(daemon.program("ethtool") or "", "-K", name, *features)


def segmenting(mcfwd: Mcfwd) -> None:
    """Returns when mcfwd gathers; skips the test where the kernel takes no super-datagrams."""
    wait_for(lambda: mcfwd.interface("up0")["segmentation"], 10.0, "answer to the probe")
    if mcfwd.interface("up0")["segmentation"] == "plain":
        pytest.skip(mcfwd.interface("up0")["segmentation_reason"])


def start(stack: ExitStack, namespace: Namespace, *downstreams: str) -> Mcfwd:
    ports = [word for name in downstreams for word in ("-d", name)]
    mcfwd = stack.enter_context(Mcfwd(namespace, "-u", "up0", *ports))
    segmenting(mcfwd)
    return mcfwd


def receiver(stack: ExitStack, mcfwd: Mcfwd, namespace: Namespace, interface: str) -> Receiver:
    member = stack.enter_context(Receiver(namespace, GROUP, verify=True))
    mcfwd.wait_member(interface, GROUP, 10.0)
    return member


def check_delivery(source: Namespace, receivers: list[Receiver], **options: object) -> None:
    """A stream in bursts arrives whole at every receiver, octet for octet and in order."""
    for each in receivers:
        each.reset()
    with Sender(source, GROUP, size=1000, count=COUNT, rate=30000, **options) as sender:
        sender.wait(20.0)
    for each in receivers:
        report = each.wait_received(COUNT)
        counts = [report.total(what) for what in ("received", "lost", "duplicated", "reordered", "altered")]
        assert (counts, report.stray) == ([COUNT, 0, 0, 0, 0], 0)


@pytest.mark.parametrize("df", [True, False])
@pytest.mark.parametrize("features", FEATURES, ids="-".join)
def test_every_datagram_arrives_whatever_the_egress_can_do(lab, stack, features, df):
    set_features(lab.router, "down0", features)
    mcfwd = start(stack, lab.router, "down0", "down1")
    members = [receiver(stack, mcfwd, lab.receivers[n], lab.downstreams[n]) for n in (0, 1)]
    capture = stack.enter_context(Capture(lab.receivers[1], protocol=UDP, snaplen=64))
    check_delivery(lab.source, members, df=df)
    assert int(mcfwd.interface("down0")["tx_packets"]) >= COUNT
    assert len(capture.frames) < COUNT


@pytest.mark.parametrize("features", [("tx", "off"), ("tx", "off", "gso", "off")], ids="-".join)
def test_finished_checksums_are_added_up_and_gathered(lab, stack, features):
    set_features(lab.source, LINK, features)
    mcfwd = start(stack, lab.router, "down0", "down1")
    members = [receiver(stack, mcfwd, lab.receivers[n], lab.downstreams[n]) for n in (0, 1)]
    capture = stack.enter_context(Capture(lab.receivers[1], protocol=UDP, snaplen=64))
    check_delivery(lab.source, members, df=True)
    assert len(capture.frames) < COUNT


@pytest.mark.parametrize("other", [pytest.param(None, id="alone", marks=pytest.mark.slow),
                                   pytest.param("239.9.1.2", id="interleaved")])  # fmt: skip
def test_many_ports_are_sent_to_from_several_threads(stack, make_lab, other):
    lab = make_lab(10)
    mcfwd = start(stack, lab.router, *lab.downstreams)
    members = [receiver(stack, mcfwd, lab.receivers[n], lab.downstreams[n]) for n in range(10)]
    if other:
        stack.enter_context(Sender(lab.source, other, size=1000, rate=3000, df=True))
    check_delivery(lab.source, members, df=True)
    threads = os.listdir(f"/proc/{mcfwd.pids['mcfwd-worker-0']}/task")
    senders = len(threads) - 1  # one writes the log
    assert senders in ((2, 3, 4) if len(os.sched_getaffinity(0)) > 1 else (1,))  # by ports and by work


@pytest.mark.parametrize("features", [("tx", "off"), ()], ids=["checked", "trusting"])
def test_a_damaged_datagram_stays_damaged(lab, stack, features):
    set_features(lab.router, "down0", features)
    mcfwd = start(stack, lab.router, "down0", "down1")
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    capture = stack.enter_context(Capture(lab.receivers[0], protocol=UDP))
    good = [udp(SOURCE, GROUP, bytes([number]) * 500, flags=0x4000) for number in range(40)]
    packets = [*good[:20], udp(SOURCE, GROUP, b"bad" * 100, wrong=0x1234, flags=0x4000), *good[20:]]
    with Injector(lab.source) as injector:
        injector.send(*packets)
        assert member.receive(40) == [bytes([number]) * 500 for number in range(40)]
    wait_for(lambda: [frame for frame in capture.frames if b"badbad" in frame.octets], 5.0, "the damaged one")
    assert member.rest() == []


@pytest.mark.parametrize("features", FEATURES[:3], ids="-".join)
@pytest.mark.parametrize("kind", ["bridge", "macvlan"])
def test_bridges_and_macvlans_carry_them(lab, stack, kind, features):
    links.delete_address(lab.router, "down0", "192.168.10.1/24")
    if kind == "bridge":
        links.bridge(lab.router, "port0", ["down0"], snooping=False)
    else:
        links.macvlan(lab.router, "port0", "down0")
    links.add_address(lab.router, "port0", "192.168.10.1/24")
    links.wait_up(lab.router, "port0")
    for name in ("down0", "port0") if kind == "bridge" else ("down0",):  # a macvlan has those of its parent
        set_features(lab.router, name, features)
    mcfwd = start(stack, lab.router, "port0", "down1")
    check_delivery(lab.source, [receiver(stack, mcfwd, lab.receivers[0], "port0")], df=True)


def test_a_tun_reads_datagrams(lab, stack):
    fd = links.tun(lab.router, "tun0")
    stack.callback(os.close, fd)
    links.add_address(lab.router, "tun0", "10.9.0.1/24")
    links.up(lab.router, "tun0")
    far = Tunnel(fd)
    mcfwd = start(stack, lab.router, "down0", "tun0")
    far.write(v2_report("10.9.0.2", GROUP))
    mcfwd.wait_member("tun0", GROUP, 10.0)
    with Sender(lab.source, GROUP, size=1000, count=300, rate=30000, df=True) as sender:
        packets = far.read(300, GROUP)
        sender.wait(10.0)
    assert {(len(packet), packet[8], udp_sum(packet)) for packet in packets} == {(1028, 15, 0)}


@pytest.mark.parametrize("features", FEATURES[:4], ids="-".join)
def test_two_in_a_row_pass_them_on_whole(stack, features):
    chain = [stack.enter_context(Namespace(name)) for name in ("source", "first", "second", "leaf")]
    for number, (left, right) in enumerate(pairwise(chain)):
        links.veth(left, "down0", right, "up0")
        links.add_address(left, "down0", f"10.0.{number}.1/24")
        links.add_address(right, "up0", f"10.0.{number}.2/24")
        for namespace, name in ((left, "down0"), (right, "up0")):
            links.up(namespace, name)
        links.wait_up(right, "up0")
    set_features(chain[1], "down0", features)
    second, first = start(stack, chain[2], "down0"), start(stack, chain[1], "down0")
    leaf = stack.enter_context(Receiver(chain[3], GROUP, interface="up0", verify=True))
    second.wait_member("down0", GROUP, 10.0)
    first.wait_member("down0", GROUP, 10.0)
    check_chain(chain[0], leaf)
    assert second.interface("up0")["rx_packets"] == first.interface("down0")["tx_packets"]  # datagrams, both
    stats = second.show("stats")
    assert features or stats["frames_per_batch"] * stats["batches"] < COUNT


def check_chain(source: Namespace, leaf: Receiver) -> None:
    with Sender(source, GROUP, interface="down0", size=1000, count=COUNT, rate=30000, df=True) as sender:
        sender.wait(20.0)
    report = leaf.wait_received(COUNT)
    assert [report.total(what) for what in ("received", "lost", "reordered", "altered")] == [COUNT, 0, 0, 0]


@pytest.mark.parametrize("options", [("--profile", "latency"), ("--profile", "throughput"), ("--workers", "2")])
def test_every_profile_and_number_of_workers_delivers(lab, stack, options):
    ports = [word for name in lab.downstreams for word in ("-d", name)]
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", *ports, *options))
    segmenting(mcfwd)
    members = [receiver(stack, mcfwd, lab.receivers[n], lab.downstreams[n]) for n in (0, 1)]
    check_delivery(lab.source, members)
    check_delivery(lab.source, members, stream=1, segments=20)
