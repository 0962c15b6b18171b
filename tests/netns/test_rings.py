"""What hosts on a downstream link can do to the rings there, beside numbered streams that must not notice."""

import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for
from forwarder.packet.super_frames import release_takes, super_frames_taken
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.state.ports import Port
from forwarder.state.ring_memory import LEAST
from forwarder.state.settings import DataplaneSettings, InterfaceSettings
from forwarder.supervisor.deafness import APART
from forwarder.supervisor.opener import PortOpener
from netns.attacks import FAR, VNET_UFO, tap
from netns.frames import Member, Source, ethernet, udp
from netns.plant import NOISE, Plant, stopped_worker

STREAM, OTHER = "239.7.1.1", "239.7.2.2"
RATE = 2000
WORKER = "mcfwd-worker-0"
SOON = 20.0  # seconds in which all must have settled on a busy machine


class Numbered:
    """2,000 numbered datagrams a second from upstream to down0."""

    def __init__(self, lab: Lab, mcfwd: Mcfwd, stack: ExitStack) -> None:
        self.receiver = stack.enter_context(Receiver(lab.receivers[0], STREAM))
        mcfwd.wait_member("down0", STREAM, SOON)
        self.sender = stack.enter_context(Sender(lab.source, STREAM, rate=RATE))
        self.carry(RATE // 4)
        self._mcfwd, self._worker = mcfwd, mcfwd.pids[WORKER]

    def carry(self, count: int) -> None:
        self.receiver.wait_received(self.receiver.report().total("received") + count, SOON)

    def assert_undisturbed(self) -> None:
        """Ends the stream: it has lost nothing, and its worker is the same."""
        self.carry(RATE // 4)
        sent = self.sender.stop().count
        self.receiver.wait_received(sent, SOON)
        report = self.receiver.settle()
        assert (report.total("received"), report.total("lost"), report.total("duplicated")) == (sent, 0, 0)
        assert self._mcfwd.pids[WORKER] == self._worker
        assert "Traceback" not in self._mcfwd.read_log()


@pytest.fixture
def numbered(lab, stack) -> Callable[[Mcfwd], Numbered]:
    return lambda mcfwd: Numbered(lab, mcfwd, stack)


# --- super-frames as long as they can be ---


@pytest.mark.parametrize("profile", ["balanced", "latency"])
def test_the_longest_super_datagrams_of_a_downstream_host_are_carried(lab, stack, start_mcfwd, numbered, profile):
    mcfwd = start_mcfwd(lab, "--profile", profile)
    stream = numbered(mcfwd)
    member = stack.enter_context(Member(lab.receivers[0], OTHER))
    mcfwd.wait_member("down0", OTHER, SOON)
    expected = []
    for size, length in ((1110, 59 * 1110), (1472, 65_507), (1400, 65_506), (1110, 65_477), (1110, 65_476)):
        with Source(lab.receivers[1], segment=size) as source:
            source.send(OTHER, NOISE[:length])
        expected += [NOISE[at : min(at + size, length)] for at in range(0, length, size)]
    assert member.receive(len(expected)) == expected
    stream.assert_undisturbed()


# --- frames that the kernel cannot describe ---


def works(fd: int, member: Member, number: int) -> bool:
    """Whether a datagram of the tap's user gets to a member."""
    payload = b"number %d" % number
    os.write(fd, bytes(10) + ethernet(udp(FAR, OTHER, payload)))
    return payload in member.receive(1, 0.1)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_ring_that_the_kernel_fills_no_more_is_replaced_alone(lab, stack, numbered, tmp_path, workers):
    if (fd := tap(stack, lab.router)) is None:
        pytest.skip("no tap device here")
    file = tmp_path / "mcfwd.toml"
    file.write_text(f"[dataplane]\nworkers = {workers}\n")
    ports = ("-u", "up0", "-d", "down0", "-d", "down1", "-d", "tap0")
    mcfwd = stack.enter_context(Mcfwd(lab.router, *ports, "-c", str(file)))
    stream = numbered(mcfwd)
    member = stack.enter_context(Member(lab.receivers[1], OTHER))
    mcfwd.wait_member("down1", OTHER, SOON)
    assert works(fd, member, 0)
    number, replaced = 0, []
    for _ in range(2):
        os.write(fd, VNET_UFO + ethernet(udp(FAR, OTHER, NOISE[:3000])))
        if works(fd, member, number := number + 1):
            pytest.skip("this kernel takes such frames, or gets over them")
        while not works(fd, member, number := number + 1):
            assert number < 1000
        replaced.append(time.monotonic())
    assert replaced[1] - replaced[0] > APART - 2.0  # a second is a tick's and the beat's
    rows = {row["name"]: row["ring_replacements"] for row in mcfwd.show("interfaces")}
    assert rows == {"up0": 0, "down0": 0, "down1": 0, "tap0": 2}
    assert len(re.findall(r"tap0: the kernel fills the ring of worker \d no more", mcfwd.read_log())) == 2
    stream.assert_undisturbed()


def test_a_worker_that_is_late_keeps_its_rings(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    source = Source(lab.receivers[1])

    def ring_full() -> int:
        return int(mcfwd.interface("down1")["drops"]["ring_full"])

    for _ in range(2):
        before = ring_full()
        with stopped_worker(Plant(lab, mcfwd)):
            source.send(OTHER, *[b"x"] * 4000)
        wait_for(lambda before=before: ring_full() > before, SOON, "drops counted")
    beats = mcfwd.show("stats")["uptime"] + 3.0
    wait_for(lambda: mcfwd.show("stats")["uptime"] > beats, SOON, "three beats")
    assert [row["ring_replacements"] for row in mcfwd.show("interfaces")] == [0, 0, 0]
    assert mcfwd.interface("down1")["ring"] == "slots"


# --- where the reader of a ring stands ---


def test_a_ring_of_slots_that_is_opened_anew_is_read_from_its_beginning(lab, stack, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    member = stack.enter_context(Member(lab.receivers[1], OTHER))
    mcfwd.wait_member("down1", OTHER, SOON)
    before = [b"%d" % number for number in range(1000)]
    with Source(lab.receivers[0]) as source:
        source.send(OTHER, *before)
    assert member.receive(1000) == before
    former = mcfwd.interface("down0")["mac"]
    links.delete(lab.router, "down0")
    lab.connect(0)
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["mac"] not in (None, former), SOON, "the new link")
    wait_for(lambda: sent_alone(lab, member), SOON, "a datagram by the new link")  # some 100 are sent at most


def sent_alone(lab: Lab, member: Member) -> bool:
    with Source(lab.receivers[0]) as source:
        source.send(OTHER, b"again")
    return member.receive(1, 0.2) == [b"again"]


def test_a_killed_worker_leaves_rings_of_slots_that_its_successor_reads_on(lab, stack, start_mcfwd):
    mcfwd = start_mcfwd(lab, "--profile", "latency")
    receiver = stack.enter_context(Receiver(lab.receivers[0], STREAM))
    mcfwd.wait_member("down0", STREAM, SOON)
    sender = stack.enter_context(Sender(lab.source, STREAM, rate=RATE))
    receiver.wait_received(RATE // 4, SOON)
    for _ in range(2):
        mcfwd.wait_for(lambda _: "mcfwd-worker-sp" in mcfwd.children().values(), SOON, "the spare worker")
        mcfwd.wait_replaced(WORKER, mcfwd.kill(WORKER), SOON)
    receiver.wait_received(receiver.report().total("received") + RATE // 4, SOON)
    sent = sender.stop().count
    report = receiver.settle(0.5, SOON)
    refused = mcfwd.interface("up0")["drops"]["ring_full"]
    assert report.total("received") + refused == sent  # `received` are distinct ones: the batch in hand may come twice


# --- kernels that take no super-frames ---


@pytest.mark.parametrize("loopback", [True, False])
def test_the_kernel_is_asked_by_the_loopback_link_and_else_judged_by_its_release(stack, loopback):
    namespace = stack.enter_context(Namespace("asked"))
    if loopback:
        links.up(namespace, "lo")
    assert namespace.run(super_frames_taken) is release_takes(os.uname().release)


@pytest.mark.parametrize(("super_frames", "version"), [(True, TPACKET_V2), (False, TPACKET_V3)])
def test_ports_get_rings_by_what_the_kernel_takes(pair, super_frames, version):
    left, _ = pair
    settings = InterfaceSettings(name="eth0")
    port = Port(1, 1, "eth0", "downstream", settings, ifindex=links.index(left, "eth0"), up=True)
    failures: list[object] = []

    def opened() -> list[int]:
        opener = PortOpener(DataplaneSettings(), os.eventfd(0), super_frames)
        opener.open(port, promiscuous=False, blocks=LEAST)
        opener.shutdown()
        return [ring.layout.version for sockets in opener.done(failures.append) for ring in sockets.rings]

    assert (left.run(opened), failures) == ([version], [])
