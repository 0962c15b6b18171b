"""A lab in which mcfwd runs, for all tests of a module: each takes a group of its own and counts what it adds."""

import itertools
import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from forwarder.lab.capture import Capture, Frame
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for
from netns.conftest import obstacle
from netns.frames import Member

IGMP_SETTINGS = "[igmp]\nlast_member_query_interval = 0.2\n"
NOISE = random.Random(3918).randbytes(1 << 17)
LARGEST = 1472  # UDP payload of an Ethernet frame

Drops = dict[tuple[str, str], int]  # by interface and reason


def payloads(sizes: Iterable[int]) -> list[bytes]:
    """Octets that differ from datagram to datagram."""
    return [NOISE[7 * number : 7 * number + size] for number, size in enumerate(sizes)]


def in_windows(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """The items in lists of `size`, so that no buffer on the way need hold them all."""
    rest = iter(items)
    while window := list(itertools.islice(rest, size)):
        yield window


def carried(capture: Capture, group: str, count: int = 1) -> list[Frame] | None:
    """The frames to a group that came in, when there are `count`; else None."""
    frames = capture.select(lambda frame: frame.destination == group and not frame.outgoing)
    return frames if len(frames) >= count else None


def masked(packet: bytes) -> bytes:
    """A packet without what forwarding changes: TTL and header checksum."""
    return packet[:8] + b"\0" + packet[9:10] + b"\0\0" + packet[12:]


def new_lab(receivers: int, *, mtu: int = 1500) -> Lab:
    """A lab for a module's fixture; the test is skipped where there can be none."""
    if reason := obstacle():
        pytest.skip(reason)
    return Lab(receivers, mtu=mtu)


class Plant:
    """A lab in which mcfwd runs, shared by tests that each use a group of their own."""

    def __init__(self, lab: Lab, mcfwd: Mcfwd) -> None:
        self.lab, self.mcfwd = lab, mcfwd
        self._numbers = itertools.count(1)

    def group(self) -> str:
        """A group that nobody has used yet."""
        number = next(self._numbers)
        return f"239.8.{number >> 8}.{number & 255}"

    def join(self, stack: ExitStack, number: int, group: str) -> Member:
        """Receiver `number` joins; mcfwd knows it on return."""
        member = stack.enter_context(Member(self.lab.receivers[number], group))
        self.mcfwd.wait_member(self.lab.downstreams[number], group, 10.0)
        return member

    def drops(self) -> Drops:
        """Everything dropped so far, by interface and reason."""
        rows = self.mcfwd.show("interfaces")
        return {(row["name"], reason): n for row in rows for reason, n in row["drops"].items()}

    def received(self, interface: str) -> int:
        """Frames that came in by an interface so far."""
        return int(self.mcfwd.interface(interface)["rx_packets"])

    def sent(self, interface: str) -> int:
        """Frames that went out by an interface so far."""
        return int(self.mcfwd.interface(interface)["tx_packets"])

    def flow(self, group: str, source: str | None = None) -> dict[str, Any]:
        """The row of `show flows` of a group; StopIteration when there is none."""
        rows: list[dict[str, Any]] = self.mcfwd.show("flows")
        return next(row for row in rows if row["group"] == group and source in (None, row["source"]))


@contextmanager
def plant_of(lab: Lab, directory: Path, settings: str = IGMP_SETTINGS) -> Iterator[Plant]:
    """mcfwd in a lab; it serves all links unless the settings name them."""
    file = directory / "mcfwd.toml"
    file.write_text(settings)
    downstreams = [word for port in lab.downstreams for word in ("-d", port)]
    ports = [] if "[[interface]]" in settings else ["-u", lab.upstream, *downstreams]
    with Mcfwd(lab.router, *ports, "-c", str(file)) as mcfwd:
        yield Plant(lab, mcfwd)


def added(after: Drops, before: Drops) -> Drops:
    """What was counted between two `Plant.drops`."""
    return {key: count - before[key] for key, count in after.items() if count != before[key]}


def wait_drops(plant: Plant, before: Drops, expected: Drops) -> None:
    """Returns when exactly `expected` was added; AssertionError when something else was or nothing came."""
    with suppress(TimeoutError):
        wait_for(lambda: added(plant.drops(), before) == expected, 5.0)
    assert added(plant.drops(), before) == expected


@contextmanager
def counted(plant: Plant, interface: str, frames: int, expected: Drops) -> Iterator[None]:
    """In the body `frames` frames come in by `interface`, of which exactly `expected` are counted as dropped."""
    drops, before = plant.drops(), plant.received(interface)
    yield
    wait_for(lambda: plant.received(interface) >= before + frames, 10.0, f"{frames} frames by {interface}")
    wait_drops(plant, drops, expected)
    assert plant.received(interface) == before + frames


@contextmanager
def stopped_worker(plant: Plant) -> Iterator[None]:
    """The worker stands still in the body; what comes in meanwhile waits in its ring and is then one batch."""
    pid = next(pid for name, pid in plant.mcfwd.pids.items() if "worker" in name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
