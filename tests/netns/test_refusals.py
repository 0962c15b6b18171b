"""Ports that are refused what they need, or some of it: they say so, the others go on, and in time all is well."""

import os
import re
import resource
import signal
import socket

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.packet.packet_socket import PortError, open_receive_ring
from forwarder.state.ports import Port
from forwarder.state.ring_memory import UPSTREAM
from forwarder.state.settings import DataplaneSettings, InterfaceSettings
from forwarder.supervisor.opener import PortOpener

GROUP = "239.1.1.1"
RATE = 2000
SOON = 20.0
SLOWLY = 45.0   # seconds: the longest pause between two tries, and what a busy machine takes


def configuration(ring_memory: str, upstream: tuple[str, ...], *downstream: str) -> str:
    roles = [*((name, "upstream") for name in upstream), *((name, "downstream") for name in downstream)]
    tables = [f'[[interface]]\nname = "{name}"\nrole = "{role}"\n' for name, role in roles]
    return "\n".join([*tables, f'[dataplane]\nring_memory = "{ring_memory}"\n'])


def lowest_free_descriptor(pid: int) -> int:
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(used) + 1) if number not in used)


def test_a_port_for_which_there_are_no_descriptors_is_degraded_until_there_are(make_lab, start_mcfwd):
    lab = make_lab(3)
    links.delete(lab.router, "down2")
    mcfwd = start_mcfwd(lab)
    mcfwd.wait_for(lambda _: "mcfwd-worker-sp" in mcfwd.children().values(), SOON, "the spare worker")
    pid = mcfwd.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=RATE) as sender:
        receiver.wait_received(RATE // 4, SOON)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free_descriptor(pid) + 1, hard))  # one: to see the link
        lab.connect(2)
        words = mcfwd.wait_for(lambda _: refused(mcfwd, "down2"), SOON, "down2 degraded")
        assert "socket: EMFILE, Too many open files; what helps: raise the limit of" in words
        row = mcfwd.interface("down2")
        assert (row["state"], row["ring"], row["ring_memory"]) == ("up", None, 0)
        stats = mcfwd.show("stats")
        assert (stats["ready"], stats["degraded"]) == (True, [{"interface": "down2", "reason": words}])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        mcfwd.wait_for(lambda _: mcfwd.interface("down2")["degraded"] is None, SLOWLY, "down2 served")
        with Receiver(lab.receivers[2], GROUP) as other:
            other.wait_received(RATE // 4, SOON)
        sent = sender.stop().count
        report = receiver.wait_received(sent, SOON)
        assert (report.total("lost"), report.total("duplicated")) == (0, 0)
    assert mcfwd.show("stats")["degraded"] == []
    said = [line for line in mcfwd.read_log().splitlines() if "degraded" in line]
    assert [re.sub(r".*(down2.*?)( \w+( \w+)?: socket.*)?$", r"\1", line) for line in said] == [
        "down2 is degraded:", "down2: its sockets are open, it is no longer degraded",
    ]  # fmt: skip
    assert "Traceback" not in mcfwd.read_log()


def refused(mcfwd: Mcfwd, name: str) -> str | None:
    """Why a port is degraded, once something was refused."""
    words = mcfwd.interface(name)["degraded"]
    return words if words and "what helps" in words else None


@pytest.mark.slow
def test_a_port_without_a_ring_keeps_nobody_from_being_ready_and_is_named(make_lab, stack, tmp_path):
    lab, file = make_lab(2), tmp_path / "mcfwd.toml"
    manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    file.write_text(configuration("1MiB", ("up0",), "down*"))
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(SOON)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file), environment=environment))
    assert manager.recv(4096) == b"READY=1"
    assert manager.recv(4096) == b"STATUS=2 of 3 interfaces served, degraded: down1"
    words = "receive ring: nothing of ring_memory is left for one; what helps: raise it in [dataplane], and a restart"
    assert {row["name"]: row["degraded"] for row in mcfwd.show("interfaces")} == {
        "up0": None, "down0": None, "down1": words,
    }  # fmt: skip
    stats = mcfwd.show("stats")
    assert (stats["ready"], stats["ring_memory_used"], stats["ring_memory"]) == (True, 1 << 20, 1 << 20)
    assert "down1 (downstream, up, degraded)" in mcfwd.read_log()
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=RATE):
        receiver.wait_received(RATE // 4, SOON)
    links.delete(lab.router, "down0")
    mcfwd.wait_for(lambda _: mcfwd.interface("down1")["degraded"] is None, SOON, "down1 served")
    assert manager.recv(4096).startswith(b"STATUS=")
    with Receiver(lab.receivers[1], GROUP) as receiver, Sender(lab.source, GROUP, rate=RATE):
        receiver.wait_received(RATE // 4, SOON)


@pytest.mark.parametrize("profile", ["balanced", pytest.param("latency", marks=pytest.mark.slow)])
def test_a_ring_becomes_whole_under_a_stream_when_others_give_theirs_back(make_lab, stack, tmp_path, profile):
    lab, file = make_lab(3), tmp_path / "mcfwd.toml"
    file.write_text(configuration("100MiB", ("up0", "down1", "down2"), "down0"))
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file), "--profile", profile))
    whole = UPSTREAM << 17
    row = mcfwd.interface("up0")
    assert row["ring_memory"] < whole
    assert row["ring_reason"].endswith("; smaller than it should be: ring_memory is divided among all ports")
    receiver = stack.enter_context(Receiver(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, SOON)
    sender = stack.enter_context(Sender(lab.source, GROUP, rate=RATE))
    receiver.wait_received(RATE, SOON)
    file.write_text(configuration("100MiB", ("up0",), "down0"))
    mcfwd.process.send_signal(signal.SIGHUP)
    mcfwd.wait_for(lambda _: mcfwd.interface("up0")["ring_memory"] == whole, SOON, "a whole ring")
    receiver.wait_received(receiver.report().total("received") + RATE // 4, SOON)
    sent = sender.stop().count
    receiver.wait_received(sent, SOON)
    report = receiver.settle()
    assert report.total("lost") == 0
    assert report.total("duplicated") < RATE    # what came to both rings: a thread ran on after opening the new one
    row = mcfwd.interface("up0")
    assert ("smaller" in row["ring_reason"], row["ring_replacements"], row["drops"]["ring_full"]) == (False, 0, 0)
    assert "up0: the ring of worker 0 has 64 MiB of " in mcfwd.read_log()


def test_a_reload_that_needs_more_memory_than_there_is_is_refused(make_lab, stack, tmp_path):
    lab, file = make_lab(2), tmp_path / "mcfwd.toml"
    file.write_text(configuration("1MiB", ("up0",), "down0"))
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
    file.write_text(configuration("8MiB", ("up0",), "down0", "down1"))
    status, answer = mcfwd.request("POST", "/v1/reload")
    assert status == 422
    words = "1 MiB is less than the 1.5 MiB that receive rings of 3 interfaces for 1 worker need"
    assert f"dataplane.ring_memory, fixed at start: {words}" in str(answer)
    assert [row["name"] for row in mcfwd.show("interfaces")] == ["up0", "down0"]


def test_a_ring_that_the_kernel_has_no_memory_for_is_opened_smaller(pair):
    left, _ = pair
    port = Port(0, 1, "eth0", "upstream", InterfaceSettings(name="eth0"), ifindex=links.index(left, "eth0"), up=True)

    def stingy(ifindex, name, layout, promiscuous, share) -> socket.socket:
        if layout.block_nr > 64:
            raise PortError("receive ring", "PACKET_RX_RING", name, 12)
        return open_receive_ring(ifindex, name, layout, promiscuous, share)

    def opened() -> list[tuple[list[int], str]]:
        opener = PortOpener(DataplaneSettings(workers=2), os.eventfd(0), True, stingy)
        opener.open(port, promiscuous=False, blocks=UPSTREAM)
        opener.shutdown()
        [sockets] = opener.done(print)
        return [([ring.layout.block_nr for ring in sockets.rings], str(sockets.refused))]

    words = "eth0: receive ring: PACKET_RX_RING: ENOMEM, Cannot allocate memory"
    assert left.run(opened) == [([64, 64], words)]
