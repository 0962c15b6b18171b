"""The gatherers of `mcfwd doctor` on made-up trees of /proc, on damaged ones, and on this machine."""

import socket
import struct
import sys
import time
from pathlib import Path

import pytest
from control_groups import MIB, second
from hypothesis import given
from hypothesis import strategies as st

from forwarder.command.examining import ethtool, limits, processes, tables
from forwarder.command.examining.asked import Asked
from forwarder.command.examining.files import number, text
from forwarder.command.examining.gathering import gather
from forwarder.command.examining.instance import Answers, _failure, asked
from forwarder.command.examining.link_details import LinkDetails, bridges_on_path, macvlans, parsed, peer_of
from forwarder.diagnosis.doctor.examination import examine
from forwarder.diagnosis.doctor.facts import Daemon, InstanceFacts, SnoopingBridge
from forwarder.state.settings import InterfaceSettings, Settings
from igmp.link import format_address

HERE = "net:[1]"
LITTLE = sys.byteorder == "little"


def hexadecimal(address):
    """As the kernel prints it: the number that its octets make here."""
    octets = bytes(map(int, address.split(".")))
    return f"{int.from_bytes(octets, sys.byteorder):08X}"


IGMP = f"""Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t{hexadecimal('224.0.0.1')}     1 0:00000000\t\t0
7\teth1      :     2      V3
\t\t\t\t{hexadecimal('239.1.2.3')}     1 0:00000000\t\t1
\t\t\t\tnonsense     1 0:00000000\t\t1
\t\t\t\t{hexadecimal('224.0.0.1')}     1 0:00000000\t\t0
"""
UDP = f"""   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 2511: {hexadecimal('239.1.2.3')}:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
 2512: {hexadecimal('10.0.0.1')}:A000 {hexadecimal('239.9.9.9')}:1389 01 00000000:00000000 00:00000000 00000000     0
 short
"""


def process(proc: Path, pid: int, name: str, parent: int = 1, namespace: str = HERE) -> None:
    directory = proc / str(pid)
    (directory / "ns").mkdir(parents=True)
    (directory / "comm").write_text(f"{name}\n")
    (directory / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
    (directory / "ns" / "net").symlink_to(namespace)


@pytest.fixture
def proc(tmp_path):
    process(tmp_path, 1, "init")
    (tmp_path / "self").symlink_to("1")
    for name, value in {"core/rmem_max": "212992", "core/wmem_max": "x", "ipv4/igmp_max_memberships": "20"}.items():
        path = tmp_path / "sys" / "net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return tmp_path


# --- tables of /proc/net ---


def test_memberships_and_sockets_are_read_with_what_is_damaged_passed_over():
    assert [(index, format_address(group)) for index, group in tables.joined(IGMP)] == [
        (1, "224.0.0.1"), (7, "239.1.2.3"), (7, "224.0.0.1"),
    ]  # fmt: skip
    bound, connected = tables.udp_sockets(UDP)
    assert (format_address(bound.local), bound.local_port, bound.remote) == ("239.1.2.3", 5000, 0)
    assert (format_address(connected.local), format_address(connected.remote), connected.remote_port) == (
        "10.0.0.1", "239.9.9.9", 5001,
    )  # fmt: skip


def test_claims_and_entries_are_counted():
    unix = "Num RefCount Protocol Flags Type St Inode Path\n0: 2 0 0 2 1 9 @mcfwd interface 12\n0: 2 0 0 2 1 9 /run/x\n"
    assert tables.claimed(unix + "0: 2 0 0 2 1 9 @mcfwd interface x\n") == {12}
    assert tables.entries("Group Origin\n010101EF 0\n") == 1
    assert tables.entries("") == 0


@given(st.text())
def test_any_text_is_a_table(words):
    list(tables.joined(words))
    list(tables.udp_sockets(words))
    tables.claimed(words)


# --- processes ---


def test_daemons_and_other_instances_of_this_namespace_are_found(proc):
    process(proc, 10, "igmpproxy")
    process(proc, 11, "pimd", namespace="net:[2]")
    process(proc, 12, "mcfwd-agent", parent=9)
    process(proc, 13, "mcfwd-agent", parent=8)
    process(proc, 14, "mcfwd-agent", parent=0)      # its supervisor is of another PID namespace
    process(proc, 15, "bash")
    (proc / "16").mkdir()                           # ended meanwhile
    assert processes.routing({13}, proc) == ((Daemon(10, "igmpproxy"),), (9,))


def test_no_proc_is_no_process(tmp_path):
    assert processes.routing((), tmp_path / "none") == ((), ())


# --- limits ---


def test_limits_are_numbers_or_unknown(proc):
    settings = Settings(interface=(InterfaceSettings(name="eth0"),))
    found = limits.facts(settings, 64, None, proc)
    assert (found.receive, found.send, found.filters, found.memberships) == (212_992, None, None, 20)
    assert found.needed == 97 * MIB + 64 * 50 * 1024
    assert (found.memory, found.available) == (None, None)


def test_the_smallest_control_group_of_the_instance_counts(proc):
    mounted = proc / "cgroup"
    second(mounted / "a" / "b", "max")
    second(mounted / "a", str(64 * MIB))
    process(proc, 20, "mcfwd")
    (proc / "20" / "cgroup").write_text("0::/a/b\n")
    (proc / "20" / "mountinfo").write_text(f"30 23 0:26 / {mounted} rw - cgroup2 cgroup2 rw\n")
    found = limits.facts(None, 0, 20, proc)
    assert (found.memory, found.memory_file) == (64 * MIB, str(mounted / "a" / "memory.max"))
    (proc / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable: 2048 kB\n")
    assert limits.facts(None, 0, 99, proc).available == 2 * MIB


@pytest.mark.parametrize("octets", [b"", b"\xff\xfe", b"\xc2\xb2", b"-1", b"1 2", b"9" * 5000])
def test_a_file_of_any_octets_has_a_number_or_none(tmp_path, octets):
    (tmp_path / "x").write_bytes(octets)
    assert number(tmp_path / "x") in (None, 1, int("9" * 64))
    assert isinstance(text(tmp_path / "x"), str)
    assert text(tmp_path) == text(tmp_path / "none") == ""


# --- links ---


BRIDGE = SnoopingBridge("br0", True, False, False)
LINKS = {
    1: LinkDetails("eth0", 1, True, "", 0, 0),
    2: LinkDetails("eth0.5", 2, True, "vlan", 3, 0),
    3: LinkDetails("br0", 3, True, "bridge", 0, 0, bridge=BRIDGE),
    4: LinkDetails("lan0", 4, True, "veth", 5, 0),
    5: LinkDetails("lan0p", 5, True, "veth", 4, 3),
    6: LinkDetails("mcfwd0", 6, True, "veth", 7, 0),
    7: LinkDetails("local0", 7, True, "veth", 6, 0),
    8: LinkDetails("mv0", 8, True, "macvlan", 1, 0, mode="bridge"),
    9: LinkDetails("loop", 9, True, "vlan", 9, 0),
    10: LinkDetails("far", 10, True, "veth", 0, 0),
}


def test_bridges_on_the_path_are_those_below_and_beyond_a_veth():
    assert [index for index in LINKS if bridges_on_path(index, LINKS)] == [2, 3, 4]
    assert bridges_on_path(99, LINKS) == ()


def test_peers_and_macvlans_are_those_of_this_namespace():
    assert {index: peer_of(index, LINKS) for index in LINKS if peer_of(index, LINKS)} == {
        5: "lan0", 6: "local0", 7: "mcfwd0",
    }  # fmt: skip
    assert macvlans(LINKS) == {1: ("mv0",)}


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def test_a_bridge_says_whether_it_snoops_asks_and_has_heard():
    data = attribute(23, b"\1") + attribute(25, b"\0") + attribute(47, attribute(1, b"\x0a\0\0\1"))
    info = attribute(1, b"bridge\0") + attribute(2, data)
    body = struct.pack("=BxHiII", 0, 1, 5, 1, 0) + attribute(3, b"br0\0") + attribute(18, info)
    found = parsed(memoryview(body))
    assert found == LinkDetails("br0", 5, True, "bridge", 0, 0, bridge=SnoopingBridge("br0", True, False, True))


@given(st.binary(max_size=80))
def test_a_message_of_any_octets_is_understood_or_refused(octets):
    try:
        parsed(memoryview(octets))
    except (ValueError, struct.error):
        pass


def test_offloads_of_the_loopback_device_are_told_and_of_strange_names_not():
    found = ethtool.offloads(["no such", "ünlike", "x" * 99, "lo"], ("rx-gro", "no-such-feature"))
    assert list(found) == ["lo"]
    assert list(found["lo"]) == ["rx-gro"]


# --- programs and instances ---


def test_a_program_answers_fails_or_is_given_up():
    assert Asked("echo", "hello").answer() == ("hello\n", "")
    assert Asked("sh", "-c", "echo refused; exit 3").answer()[1] == "refused"
    assert Asked("false").answer()[1] == "exit status 1"
    assert Asked("/no/such/program").answer()[1] == "No such file or directory"
    began = time.monotonic()
    assert Asked("sleep", "60").answer()[1].startswith("no answer")
    assert Asked("cat", "/dev/zero").answer()[1] != ""
    assert time.monotonic() - began < 20


def test_an_instance_that_nobody_runs_is_none_and_one_that_is_hung_is_told(tmp_path):
    assert asked(str(tmp_path / "none")) == Answers()
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen(0)
        found = [asked(str(tmp_path / "s")) for _ in range(3)]      # the last finds no room to wait in
    assert found[0].facts.silence.startswith("no answer from the instance")
    assert all(each.facts.silence and each.facts.exists for each in found)


def test_an_instance_of_somebody_else_is_no_other_one():
    found = _failure("no instance answers; tried /run/mcfwd/mcfwd.sock (Permission denied)")
    assert found.denied
    assert found.exists


# --- all together ---


def test_a_machine_without_proc_is_examined_all_the_same(tmp_path):
    settings = Settings(interface=(InterfaceSettings(name="no-such0"),))
    found = gather(settings, (), Answers(), tmp_path)
    assert [each.kind for each in examine(found) if each.subject == "no-such0"] == ["missing interface"]


def test_an_answer_gives_the_interfaces_and_is_believed_in_nothing(proc):
    rows = {"gone0": {"name": "gone0", "role": "downstream", "querier": False, "querier_address": "10.0.0.9",
                      "degraded": None, "drops": {"transmit_failed": 3}},
            "odd": {"name": "odd", "role": ["x"], "drops": 3}}  # fmt: skip
    found = gather(None, (), Answers(InstanceFacts(True), rows), proc)
    [gone] = found.interfaces
    assert (gone.name, gone.querier, gone.transmit_failed, found.configured) == ("gone0", "10.0.0.9", 3, True)
