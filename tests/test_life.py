"""A child's life as docs/architecture.md draws it: what real children and their supervisor say to each other."""

import os
import re
import selectors
import signal
import socket
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from forwarder.packet.tpacket import RingLayout
from forwarder.process import control
from forwarder.process.lending import Loan, loan
from forwarder.state.ports import Configuration
from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.supervisor.children import ANSWER, STALL, START, Process
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.shared import AGENT, Shared
from forwarder.supervisor.staff import Staff

TEXT = (Path(__file__).parent.parent / "docs/architecture.md").read_text()
PICTURE = TEXT.split("A child's life", 1)[1].split("```")[1]
PATIENCE = 60.0     # seconds for the imports of three children on a machine that has other things to do


def said_by_supervisor() -> list[str]:
    """The messages of the picture's left side, in their order."""
    return re.findall(r"^  ([a-z_]+)(?::| \(again\)| +-->).*$", "\n".join(_lines("-->")), re.MULTILINE)


def said_by_child() -> list[str]:
    return [line.split("<--")[1].split()[0] for line in _lines("<--") if re.search(r"<-- +[a-z]+$", line)]


def _lines(arrow: str) -> list[str]:
    return [line for line in PICTURE.splitlines() if arrow in line]


class Relay:
    """Starts real children and stands between them and their supervisor, writing down what passes."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.processes: list[Process] = []
        self.said: dict[str, tuple[list[str], list[str]]] = {}      # by module: by the supervisor, by the child

    def start(self, module: str, parent: int, nice: int) -> Process:
        child = Process.start(module, parent, nice)
        self.processes.append(child)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        down, up = self.said.setdefault(module, ([], []))
        for source, target, words in ((theirs, child.channel, down), (child.channel, theirs, up)):
            self._selector.register(source, selectors.EVENT_READ, (source, target, words))
        return Process(child.popen, ours)

    def pass_on(self) -> None:
        for key, _ in self._selector.select(0.02):
            source, target, words = key.data
            received = control.receive(source)
            if received is None:
                self._selector.unregister(source)
                target.close()
                continue
            message, descriptors = received
            words.append(message["type"])
            control.send(target, {name: value for name, value in message.items() if name != "descriptors"}, descriptors)
            for descriptor in descriptors.values():
                os.close(descriptor)


class Lender:
    """Two ports that no configuration names yet: what is lent of them is kept and not used."""

    changed = ring_memory = 0

    def standings(self, waiting) -> list:
        return []

    @property
    def open(self) -> list[int]:
        return [0, 1]

    def loan(self, worker: int | None, index: int) -> Loan:
        layout = asdict(RingLayout(block_nr=4))
        if worker is None:
            return loan((index, 9, 9, 1), 9, {"igmp": NOWHERE})
        return loan((index, 9, 9, 1), 9, {"ring": NOWHERE, "transmit": NOWHERE}, **layout)


NOWHERE = os.open(os.devnull, os.O_RDWR)


@pytest.fixture
def life():
    """A staff of real children, and the relay; `until` lets them live until a condition holds."""
    shared = Shared(DataplaneSettings(max_ports=4, max_flows=64, max_routes=64))
    SnapshotWriter(shared.configuration).publish(Configuration(1, Settings(), ()).to_json())
    between, selector = selectors.DefaultSelector(), selectors.DefaultSelector()
    relay, guard = Relay(between), Guard(time.monotonic)
    staff = Staff(shared, Lender(), NOWHERE, selector, "warning", dict, guard, relay.start)
    staff.start()

    def until(condition) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, relay.said
            relay.pass_on()
            for key, _ in selector.select(0):
                guard.take(*key.data)
            staff.keep(time.monotonic())

    yield staff, relay, until
    for process in relay.processes:
        process.kill()
    assert guard.faults == 0


def test_what_is_said_to_a_child_and_by_it_is_what_the_picture_says(life):
    staff, relay, until = life
    until(staff.serves)
    staff.owe(1)
    until(lambda: all(len(relay.said[module][0]) == 5 for module in ("forwarder.dataplane.worker", "forwarder.agent")))
    first = [name for at, name in enumerate(said_by_supervisor()) if name not in said_by_supervisor()[:at]]
    assert first == ["start", "port", "ports_sent"]
    for module in ("forwarder.dataplane.worker", "forwarder.agent"):
        down, up = relay.said[module]
        assert down == ["start", "port", "port", "ports_sent", "port"]
        assert [name for at, name in enumerate(down) if down[at - 1 : at] != [name]] == said_by_supervisor()
        assert up == said_by_child() == ["here", "ready"]


def test_who_ends_has_a_successor_that_is_told_the_same(life):
    staff, relay, until = life
    until(staff.serves)
    agent = next(child for child in staff.children.values() if child.name == AGENT)
    first = agent.process.popen.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: agent.process is not None and agent.process.popen.pid != first and agent.ready)
    down, up = relay.said["forwarder.agent"]
    assert down == 2 * ["start", "port", "port", "ports_sent"]
    assert up == 2 * said_by_child()


def test_the_times_of_the_picture_are_those_of_the_code():
    times = re.search(r"silent for (\d+) s \((\d+) s before ready, (\d+) s before here", PICTURE)
    assert times is not None
    assert tuple(map(float, times.groups())) == (STALL, START, ANSWER)
