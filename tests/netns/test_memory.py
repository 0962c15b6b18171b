"""Memory: what mcfwd is charged with, how it lives under a limit of a control group, and what it says of it."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.wait import wait_for
from forwarder.supervisor.memory_limit import FILES, ControlGroup, groups

MIB = 1 << 20
FLOWS = [f"239.7.{number // 250}.{number % 250 + 1}" for number in range(1000)]
TASKS = "cgroup.procs"
PATIENCE = 40.0


class Limited(ControlGroup):
    """A control group for one test."""

    def __init__(self, own: ControlGroup) -> None:
        super().__init__(own.version, own.directory / f"mcfwd-test-{os.getpid()}")
        self.directory.mkdir()

    @property
    def usage(self) -> int:
        return int((self.directory / FILES[self.version].usage).read_text())

    def limit_to(self, octets: int) -> None:
        (self.directory / FILES[self.version].limit).write_text(str(octets))

    def prefix(self) -> tuple[str, ...]:
        """What starts a program in it."""
        return ("sh", "-c", f'echo $$ > {self.directory / TASKS} && exec "$@"', "sh")

    def remove(self) -> None:
        wait_for(lambda: not (self.directory / TASKS).read_text(), PATIENCE, "nobody in the control group")
        self.directory.rmdir()


@pytest.fixture
def group() -> Iterator[Limited]:
    """Removed when mcfwd, which is started later, has ended."""
    made: list[Limited] = []
    found = groups()
    try:
        made.append(Limited(found[0]))
        made[0].limit_to(1 << 30)
    except (IndexError, OSError) as error:
        with contextlib.suppress(OSError):
            for each in made:
                each.directory.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    yield made[0]
    made[0].remove()


@pytest.fixture
def limited(group, lab, stack) -> Callable[[int], Mcfwd]:
    """Starts mcfwd for three ports under a limit."""

    def start(octets: int) -> Mcfwd:
        group.limit_to(octets)
        arguments = ("-u", "up0", *(word for name in lab.downstreams for word in ("-d", name)))
        return stack.enter_context(Mcfwd(lab.router, *arguments, prefix=group.prefix(), timeout=PATIENCE))

    return start


def spare(mcfwd: Mcfwd) -> list[int]:
    return [pid for pid, name in mcfwd.children().items() if name.startswith("mcfwd-worker-s")]


def test_three_idle_ports_are_charged_with_100_mib_at_most(group, limited, capsys):
    mcfwd = limited(1 << 30)
    mcfwd.wait_for(spare, PATIENCE, "a spare worker")
    charged = settled(group)
    with capsys.disabled():
        print(f"\ncharged with {charged / MIB:.1f} MiB")
    assert charged <= 100 * MIB


def settled(group: Limited) -> int:
    """What is charged, besides pages of files, once it grows no more."""
    seen = []

    def still() -> bool:
        room = group.room
        assert room is not None
        seen.append((1 << 30) - room)
        return len(seen) > 10 and max(seen[-10:]) - min(seen[-10:]) < MIB // 4

    wait_for(still, PATIENCE, "memory that is still")
    return seen[-1]


def join_all(namespace) -> socket.socket:
    namespace.sysctl("ipv4/igmp_max_memberships", 2 * len(FLOWS))
    receiver = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    index = namespace.run(lambda: next(number for number, name in socket.if_nameindex() if name != "lo"))
    for address in FLOWS:
        request = struct.pack("4s4si", socket.inet_aton(address), bytes(4), index)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return receiver


def test_a_thousand_flows_are_carried_within_128_mib(group, lab, limited):
    mcfwd = limited(128 * MIB)
    mcfwd.wait_for(spare, PATIENCE, "a spare worker")
    before = mcfwd.pids
    with contextlib.ExitStack() as stack:
        for receiver in lab.receivers:
            stack.enter_context(join_all(receiver))
        sender = stack.enter_context(lab.source.socket(socket.AF_INET, socket.SOCK_DGRAM, 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.1"))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)

        def all_flow(_: Mcfwd) -> bool:
            for address in FLOWS:
                sender.sendto(b"x" * 1000, (address, 5000))
            time.sleep(0.1)
            _, rows = mcfwd.request("GET", "/v1/flows?limit=10000", timeout=PATIENCE)
            return sum(row["verdict"] == "forward" for row in rows) == len(FLOWS)

        mcfwd.wait_for(all_flow, 2 * PATIENCE, "1,000 flows")
    assert (mcfwd.pids, group.kills) == (before, 0)
    assert "ended" not in mcfwd.read_log()


def test_without_room_for_a_spare_there_is_none_and_this_is_said(limited):
    mcfwd = limited(104 * MIB)
    said = mcfwd.wait_for(lambda each: each.show("stats")["spare_left_out"], PATIENCE, "no spare")
    assert said.startswith("the memory limit (104 MiB) leaves ")
    assert f"no spare worker waits, so another one takes longer to be replaced: {said}" in mcfwd.read_log()
    assert spare(mcfwd) == []


def test_who_is_killed_by_the_limit_is_said_with_what_to_lower(group, limited):
    mcfwd = limited(104 * MIB)
    mcfwd.wait_for(lambda each: each.show("stats")["spare_left_out"], PATIENCE, "no spare")
    group.limit_to(group.usage + MIB)
    with contextlib.suppress(OSError, RuntimeError):
        mcfwd.request("GET", "/v1/flows")   # for which the API needs some more
    words = " was killed by the memory limit ("
    mcfwd.wait_for(lambda each: words in each.read_log(), PATIENCE, "a kill said")
    group.limit_to(1 << 30)
    [line] = [line for line in mcfwd.read_log().splitlines() if words in line][:1]
    assert "lower [dataplane] workers or max_flows" in line
    mcfwd.wait_for(lambda each: len(each.pids) == 4, PATIENCE, "all replaced")


def test_own_files_of_a_group_are_those_of_its_version(group):
    assert Path(group.directory, FILES[group.version].kills).exists()
    assert group.limit == 1 << 30
    assert group.kills == 0
