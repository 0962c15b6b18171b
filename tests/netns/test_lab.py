"""The lab measures truthfully: what it sends arrives, what is damaged shows, what it makes is gone afterwards."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture, reported_groups
from forwarder.lab.datagram import SIZE
from forwarder.lab.kernel import kernel_routes
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for

GROUP, OTHER = "239.1.1.1", "239.1.1.2"


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_a_lab_leaves_neither_threads_nor_descriptors_behind():
    before = threading.active_count(), descriptors()
    with Lab(3) as lab:
        assert links.names(lab.router) == ["lo", "up0", "down0", "down1", "down2"]
    assert (threading.active_count(), descriptors()) == before


def test_code_and_programs_run_inside_and_the_caller_stays_outside():
    outside = links_here()
    with Namespace("inside") as namespace:
        assert namespace.run(links_here) == ["lo"]
        assert "lo" in namespace.command("ip", "-o", "link")
        namespace.sysctl("ipv4/conf/lo/force_igmp_version", 2)
        assert namespace.read_sysctl("ipv4/conf/lo/force_igmp_version") == "2"
    assert links_here() == outside


def links_here():
    with open("/proc/thread-self/net/dev") as file:
        return [line.split(":")[0].strip() for line in file.readlines()[2:]]


def test_an_error_inside_is_raised_outside():
    with Namespace() as namespace, pytest.raises(LookupError):
        links.up(namespace, "nowhere")


def test_a_link_can_be_renamed_deleted_and_made_again(lab):
    links.rename(lab.router, "down1", "other")
    links.delete(lab.router, "other")
    assert links.names(lab.receivers[1]) == ["lo"]
    lab.connect(1)
    assert "down1" in links.names(lab.router)


def test_bridge_macvlan_and_tun_are_made(lab):
    links.macvlan(lab.source, "mac0", "eth0")
    links.bridge(lab.receivers[0], "br0", ["eth0"])
    fd = links.tun(lab.router, "tun0")
    assert "tun0" in links.names(lab.router)
    os.close(fd)
    wait_for(lambda: "tun0" not in links.names(lab.router), 5.0, "tun0 gone")
    assert "mac0" in links.names(lab.source)
    assert links.attribute(lab.receivers[0], "eth0", "IFLA_MASTER") == links.index(lab.receivers[0], "br0")


def test_every_datagram_of_every_size_is_received_as_it_was_sent(pair):
    left, right = pair
    with Receiver(right, GROUP, OTHER, verify=True) as receiver:
        with Sender(left, GROUP, OTHER, size=SIZE, largest=4000, rate=0, count=3001, stream=7) as sender:
            result = sender.wait(20.0)
        report = receiver.wait_received(3001)
    assert result.streams == {7: 1501, 8: 1500}
    assert {stream.stream: stream.received for stream in report.streams} == result.streams
    assert [report.total(name) for name in ("lost", "duplicated", "reordered", "altered")] == [0, 0, 0, 0]
    assert report.total("bytes") == result.bytes


@pytest.mark.parametrize("options", [{"segments": 8}, {"no_checksum": True}, {"df": True, "tos": 0xB8, "ttl": 3}])
def test_options_of_the_sender_change_the_frames_not_the_datagrams(pair, options):
    left, right = pair
    with Receiver(right, GROUP, verify=True) as receiver, Capture(right, protocol=UDP) as capture:
        with Sender(left, GROUP, size=1000, count=160, rate=0, **options) as sender:
            sender.wait(20.0)
        report = receiver.wait_received(160)
        frame = capture.wait_for(bool, 5.0)
    assert report.total("altered") == report.total("lost") == report.stray == 0
    assert len(frame.octets) == 14 + 28 + 1000 * options.get("segments", 1)
    assert (frame.packet[1], frame.ttl) == (options.get("tos", 0), options.get("ttl", 16))
    assert bool(frame.packet[6] & 0x40) == bool(options.get("df"))
    assert (frame.payload[6:8] == b"\0\0") == bool(options.get("no_checksum"))


def test_pacing_keeps_the_rate(pair):
    left, _ = pair
    with Sender(left, GROUP, rate=20000, seconds=1.0) as sender:
        assert sender.wait(10.0).rate == pytest.approx(20000, rel=0.05)


def test_an_endless_sender_tells_what_it_sent_when_stopped(pair):
    left, right = pair
    with Receiver(right, GROUP) as receiver, Sender(left, GROUP, rate=5000) as sender:
        receiver.wait_received(500)
        result = sender.stop()
        assert receiver.wait_received(result.count).total("received") == result.count


def test_a_receiver_tells_when_it_joined_when_the_first_came_and_gets_nothing_after_its_leave(pair):
    left, right = pair
    with Receiver(right) as receiver, Sender(left, GROUP, rate=2000) as sender:
        joined = receiver.join(GROUP)
        receiver.wait_received(10)
        left_at = receiver.leave(GROUP)
        count = receiver.report().total("received")
        sender.stop()
        report = receiver.report()
    [join] = report.joins
    assert joined <= join.first < joined + 1.0
    assert join.left == left_at
    assert report.total("received") == count
    assert report.streams[0].last <= left_at + 0.1


def test_a_channel_is_received_from_its_source_only(pair):
    left, right = pair
    with Receiver(right) as receiver, Sender(left, "232.1.1.1", rate=2000):
        receiver.join("232.1.1.1", "10.0.0.99")
        receiver.join("232.1.1.1", "10.0.0.98")
        assert receiver.report().total("received") == 0
        receiver.join("232.1.1.1", "10.0.0.1")
        receiver.wait_received(10)


def test_a_blocked_source_is_not_received(pair):
    left, right = pair
    with Receiver(right, GROUP) as receiver, Sender(left, GROUP, rate=2000):
        receiver.wait_received(10)
        receiver.command("block", GROUP, "10.0.0.1")
        receiver.reset()
        assert receiver.settle(quiet=0.2).total("received") == 0
        receiver.command("unblock", GROUP, "10.0.0.1")
        receiver.wait_received(10)


def test_hundreds_of_groups_take_as_many_sockets_as_they_need(pair):
    left, right = pair
    with Receiver(right, GROUP, options=("--groups", "200")) as receiver:
        with Sender(left, *[f"239.1.1.{number}" for number in range(1, 201)], count=1000, rate=20000) as sender:
            sender.wait(10.0)
        report = receiver.wait_received(1000)
    assert (len(report.streams), report.total("duplicated"), report.total("lost")) == (200, 0, 0)


def test_a_refused_command_is_an_error(pair):
    with Receiver(pair[1]) as receiver:
        with pytest.raises(RuntimeError, match="not a member"):
            receiver.command("leave", GROUP)
        with pytest.raises(RuntimeError):
            receiver.command("join", "10.0.0.1")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_capture_sees_the_report_of_a_receiver_in_its_version(lab, version):
    lab.force_igmp_version(0, version)
    with Capture(lab.router, "down0", IGMP) as capture, Receiver(lab.receivers[0]) as receiver:
        joined = receiver.join(GROUP)
        frame = capture.wait_for(lambda frame: GROUP in reported_groups(frame), 5.0)
    assert frame.payload[0] == {1: 0x12, 2: 0x16, 3: 0x22}[version]
    assert (frame.source, frame.ttl, frame.outgoing) == (lab.address(0), 1, False)
    assert joined < frame.time < joined + 1.0


def test_kernel_routing_carries_the_stream_to_every_receiver(make_lab):
    lab = make_lab(4)
    with kernel_routes(lab, [GROUP]):
        receivers = [Receiver(namespace, GROUP, timestamps=False) for namespace in lab.receivers]
        with Sender(lab.source, GROUP, rate=5000, count=5000) as sender:
            sender.wait(10.0)
        assert [receiver.wait_received(5000).total("lost") for receiver in receivers] == [0] * 4
        for receiver in receivers:
            receiver.close()


def test_programs_end_when_they_are_left_alone(pair):
    with Receiver(pair[1]) as receiver:
        os.kill(receiver.pid, signal.SIGKILL)
        with pytest.raises((RuntimeError, BrokenPipeError)):
            receiver.command("report")
    assert not os.path.exists(f"/proc/{receiver.pid}")


def test_a_program_inside_that_fails_says_so():
    with Namespace() as namespace, pytest.raises(subprocess.CalledProcessError):
        namespace.command("false")


@pytest.mark.slow
def test_the_demonstration_passes():
    done = subprocess.run([sys.executable, "-m", "forwarder.lab.demo"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("demo passed\n")
