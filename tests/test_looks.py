"""Which notifications lead to a look at the links, and when: nothing that matters is missed, nothing else costs one."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_assignment import link

from forwarder.packet.rtnetlink import LinkNotice
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.assignment import Assignment, Entries
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.looks import GATHERING, LONGEST_RETRY, RETRY, Concern, Looks

SETTINGS = Settings(interface=(
    InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap*"),
    InterfaceSettings(name="odd\\xff*"),
    InterfaceSettings(name="tap9", role="disabled"), InterfaceSettings(name="eth0", role="disabled"),
))  # fmt: skip
ENTRIES = Entries(SETTINGS)


# which


@pytest.mark.parametrize(("ifindex", "names", "concerned"), [
    (7, (b"docker0",), False),
    (7, (), False),                             # an address of a link that is none of ours
    (7, (b"tap9",), False),                     # named, and disabled
    (7, (b"tap",), True),
    (7, (b"eth0",), True),
    (7, (b"eth00",), False),
    (7, (b"odd\xff\xfe",), True),               # as it is shown
    (7, (b"odd\xfe",), False),
    (7, (b"docker0", b"enp1", b"tap3"), True),  # by one of its other names
    (10, (b"docker0",), True),                  # eth0 until now
    (10, (), True),
    (11, (b"docker0",), False),                 # tap9 until now
    (12, (), False),
])  # fmt: skip
def test_what_concerns_us_is_what_is_or_was_called_as_configured(ifindex, names, concerned):
    interest = Concern(ENTRIES, [link("eth0", 10), link("tap9", 11), link("docker0", 12)])
    assert interest.concerns(LinkNotice(ifindex, names)) is concerned


# when


class Turns:
    """Looks whose bell says what the test wants it to, and that fail as it wants; `looked` is when they were taken."""

    def __init__(self) -> None:
        self.now, self.looked, self.matters, self.fault = 10.0, [], True, None
        self.guard = Guard(lambda: self.now)
        self.looks = Looks(self.guard, self.rang, self.look)

    def rang(self) -> bool:
        if isinstance(self.matters, Exception):
            raise self.matters
        return self.matters

    def look(self) -> None:
        self.looked.append(self.now)
        if self.fault:
            raise self.fault

    def hear_at(self, now: float) -> None:
        self.now = now
        self.looks.hear(now)

    def turn_at(self, now: float) -> None:
        self.now = now
        self.looks.turn(now)


def test_a_burst_is_answered_by_one_look_that_it_does_not_postpone():
    turns = Turns()
    for now in (10.0, 10.01, 10.02, 10.04):
        turns.hear_at(now)
        turns.turn_at(now)
    assert turns.looked == []
    assert turns.looks.wait(10.04, 1.0) == pytest.approx(GATHERING - 0.04)
    for now in (10.0 + GATHERING, 10.06, 99.0):
        turns.turn_at(now)
    assert turns.looked == [10.0 + GATHERING]
    turns.hear_at(100.0)
    turns.turn_at(101.0)
    assert len(turns.looked) == 2


def test_what_does_not_matter_leads_to_no_look():
    turns = Turns()
    turns.matters = False
    for now in range(10, 100):
        turns.hear_at(now)
        turns.turn_at(now)
        assert turns.looks.wait(now, 0.2) == 0.2
    assert turns.looked == []


def test_the_loop_sleeps_no_longer_than_until_the_look():
    turns = Turns()
    turns.hear_at(5.0)
    assert turns.looks.wait(5.0, 1.0) == pytest.approx(GATHERING)
    assert turns.looks.wait(5.0, 0.01) == 0.01
    assert turns.looks.wait(99.0, 1.0) == 0.0


def test_a_look_for_another_reason_answers_what_was_heard():
    turns = Turns()
    turns.hear_at(10.0)
    turns.looks.look(10.01)
    turns.turn_at(99.0)
    assert len(turns.looked) == 1


def test_a_look_that_failed_is_counted_and_comes_again_later_and_later_until_one_succeeds():
    turns, waits = Turns(), []
    turns.fault = OSError("no buffer space")
    turns.looks.look(turns.now)
    for _ in range(8):
        waits.append(turns.looks.wait(turns.now, math.inf))
        turns.turn_at(turns.now + waits[-1])
    assert waits == [RETRY, 2 * RETRY, 4 * RETRY, 8 * RETRY, 16 * RETRY, *[LONGEST_RETRY] * 3]
    assert (len(turns.looked), turns.guard.faults) == (9, 9)
    turns.fault = None
    turns.turn_at(turns.now + LONGEST_RETRY)
    assert turns.looks.wait(turns.now, math.inf) == math.inf
    turns.fault = OSError("again")
    turns.looks.look(turns.now)
    assert turns.looks.wait(turns.now, math.inf) == RETRY


def test_a_change_does_not_wait_for_a_look_that_comes_again():
    turns = Turns()
    turns.fault = OSError("no buffer space")
    turns.looks.look(10.0)
    turns.hear_at(10.5)
    turns.fault = None
    turns.turn_at(10.5 + GATHERING)
    assert turns.looked[1:] == [10.5 + GATHERING]
    assert turns.looks.wait(11.0, math.inf) == math.inf


def test_a_bell_that_rings_on_puts_the_next_look_no_further_off():
    turns = Turns()
    turns.fault = OSError("no buffer space")
    turns.looks.look(10.0)
    for at in range(8):
        turns.hear_at(10.1 + at / 10)
        turns.turn_at(10.15 + at / 10)
    assert len(turns.looked) == 9
    assert turns.looks.wait(10.9, math.inf) == pytest.approx(10.0 + RETRY - 10.9)
    turns.turn_at(10.0 + RETRY)
    assert turns.looks.wait(10.0 + RETRY, math.inf) == 2 * RETRY


def test_where_hearing_fails_the_links_are_looked_at():
    turns = Turns()
    turns.matters = ValueError("odd")
    turns.hear_at(10.0)
    turns.turn_at(11.0)
    assert (turns.looked, turns.guard.faults) == ([11.0], 1)


# nothing is missed


@dataclass
class Kernel:
    """A namespace of links that tells of every change, after it; what is told waits to be heard."""

    names: dict[int, bytes] = field(default_factory=lambda: {2: b"eth0", 3: b"x", 4: b"tap1"})
    addresses: dict[int, int] = field(default_factory=dict)
    told: list[LinkNotice] = field(default_factory=list)

    def change(self, what: str, ifindex: int, name: bytes) -> None:
        """As far as it can be done: who comes may take the index of one that has gone, but no name that is there."""
        there = ifindex in self.names
        if what == "call" and name not in self.names.values():      # make, or rename
            self.names[ifindex] = name
            self.told.append(LinkNotice(ifindex, (name,)))
        elif what == "end" and there:
            self.told.append(LinkNotice(ifindex, (self.names.pop(ifindex),)))
            self.addresses.pop(ifindex, None)
        elif what == "address" and there:
            self.addresses[ifindex] = self.addresses.get(ifindex, 0) + 1
            self.told.append(LinkNotice(ifindex, ()))

    def links(self):
        return {name.decode(): link(name.decode(), ifindex, addresses=((self.addresses.get(ifindex, 0), 24),))
                for ifindex, name in self.names.items()}  # fmt: skip


@dataclass
class Watcher:
    """What the supervisor does with the kernel's notices."""

    kernel: Kernel
    now: float = 0.0
    dumps: int = 0
    heard: list[LinkNotice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.looks = Looks(Guard(lambda: self.now), self.rang, self.look)
        self.looks.look(self.now)

    def rang(self) -> bool:
        return any(self.interest.concerns(notice) for notice in self.heard)

    def look(self) -> None:
        self.links = self.kernel.links()
        self.interest = Concern(ENTRIES, self.links.values())
        self.dumps += 1

    def hear(self, count: int) -> None:
        self.heard, self.kernel.told = self.kernel.told[:count], self.kernel.told[count:]
        self.looks.hear(self.now)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.looks.turn(self.now)


def ports(links):
    """Which ports there would be, whatever was before."""
    return [(port.name, port.ifindex, port.addresses) for port in Assignment(64).updated(SETTINGS, links, 1)[1]]


changes = st.tuples(st.sampled_from(["call", "end", "address"]), st.integers(2, 6),
                    st.sampled_from([b"eth0", b"tap1", b"tap2", b"x", b"y"]))  # fmt: skip
turns = st.tuples(st.just("turn"), st.integers(0, 5), st.sampled_from([0.0, 0.01, 0.03, GATHERING]))


@given(st.lists(changes | turns, max_size=40))
def test_whatever_happens_in_whatever_order_it_is_heard_the_ports_are_right_in_the_end(steps):
    kernel = Kernel()
    watcher = Watcher(kernel)
    for what, first, second in steps:
        if what == "turn":
            watcher.hear(first)
            watcher.turn(second)
        else:
            kernel.change(what, first, second)
    watcher.hear(len(kernel.told))
    watcher.turn(GATHERING)
    assert ports(watcher.links) == ports(kernel.links())


@given(st.lists(st.tuples(st.sampled_from(["call", "end", "address"]), st.integers(5, 9),
                          st.sampled_from([b"x1", b"docker0", b"tap9", b"eth1", b"ta"])), max_size=40))  # fmt: skip
def test_links_that_are_none_of_ours_cost_no_look(steps):
    kernel = Kernel()
    watcher = Watcher(kernel)
    for what, ifindex, name in steps:
        kernel.change(what, ifindex, name)
        watcher.hear(2)
        watcher.turn(0.03)
    watcher.turn(60.0)
    assert watcher.dumps == 1
