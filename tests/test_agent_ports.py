"""The agent's ports: descriptors are kept as long as configuration and loan may still meet, and no longer."""

import os
import socket
from dataclasses import replace

import pytest
from effort import lines

from forwarder.agent.listening import Listening
from forwarder.agent.ports import CONFIRMED, AgentPorts
from forwarder.agent.publisher import Publisher
from forwarder.process.lending import loan
from forwarder.state import membership, routes
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.settings import InterfaceSettings, Settings
from igmp.filter import EVERYTHING, Filter
from igmp.link import parse_address
from igmp.messages import GroupRecord, RecordType, encode_report
from igmp.outputs import Role, Route, Send
from igmp.packet import encode
from igmp.proxy import Proxy

SETTINGS = Settings(interface=(InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap*")))


def port(index: int, assigned: int, ifindex: int) -> Port:
    interface = SETTINGS.interface[min(index, 1)]
    name = f"tap{index}" if index else "eth0"
    address = parse_address(f"10.0.{index}.1"), 24
    return Port(
        index, assigned, name, interface.role, interface, ifindex, True, "02:00:00:00:00:01", addresses=(address,)
    )


@pytest.fixture
def ports() -> AgentPorts:
    publisher = Publisher(routes.create(256, 8), membership.create(8), [])
    return AgentPorts(Proxy(lambda: 0.5), publisher, Listening(), lambda outputs: None)


@pytest.fixture
def descriptor():
    """Of a socket whose other end tells whether somebody still holds it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    yield theirs.detach(), ours
    ours.close()


def held(ours: socket.socket) -> bool:
    try:
        return ours.recv(1) != b""
    except BlockingIOError:
        return True


def test_a_socket_is_let_go_with_its_port(ports, descriptor):
    number, ours = descriptor
    ports.configure(Configuration(1, SETTINGS, (port(0, 1, 10), port(1, 1, 11))))
    ports.lend(loan((1, 1, 11, 1), 1, {"igmp": number}))
    assert held(ours)
    ports.configure(Configuration(2, SETTINGS, (port(0, 1, 10),)))
    assert not held(ours)


def test_a_socket_that_came_before_its_port_is_kept_for_it(ports, descriptor):
    number, ours = descriptor
    ports.lend(loan((1, 3, 11, 1), 3, {"igmp": number}))
    ports.configure(Configuration(2, SETTINGS, (port(0, 1, 10),)))
    assert held(ours)
    ports.configure(Configuration(3, SETTINGS, (port(0, 1, 10), port(1, 3, 11))))
    os.close(os.dup(number))        # still the agent's
    assert held(ours)


@pytest.mark.parametrize("generation", [2, 4])
def test_a_socket_that_was_lent_for_an_interface_of_the_past_is_let_go(ports, descriptor, generation):
    number, ours = descriptor
    ports.lend(loan((1, 2, 11, 1), generation, {"igmp": number}))
    ports.configure(Configuration(4, SETTINGS, (port(0, 1, 10), port(1, 2, 12))))
    assert not held(ours)


# --- what the protocol is told, and what becomes of it ---

G, HOST, ROUTERS = parse_address("239.1.1.1"), parse_address("10.0.1.9"), parse_address("224.0.0.22")
PORTS = (port(0, 1, 10), port(1, 1, 11))
OURS = Role(1, True, parse_address("10.0.1.1"))


class Wired:
    """Ports with wires to speak and hear by, and a list of what the protocol asked for."""

    def __init__(self, shared: tuple[int, int] | None = None) -> None:
        self.routes, self.membership = shared or (routes.create(256, 8), membership.create(8))
        self.now, self.asked, self.generation = 1000.0, [], 0
        self.kernels: dict[int, Filter] | None = None   # what the host itself has joined
        self.proxy = Proxy(lambda: 0.5)
        self.publisher, self.listening = Publisher(self.routes, self.membership, []), Listening()
        self.ports = AgentPorts(self.proxy, self.publisher, self.listening, self.asked.extend, lambda: self.now,
                                lambda _: self.kernels)
        self.wires: dict[int, socket.socket] = {}

    def configure(self, *ports: Port, settings: Settings = SETTINGS, added: Added | None = None) -> list:
        """What the protocol asks for in answer to this configuration."""
        self.generation += 1
        del self.asked[:]
        self.ports.configure(Configuration(self.generation, settings, ports, added or Added()))
        return list(self.asked)

    def lend(self, *ports: Port) -> list:
        del self.asked[:]
        for each in ports:
            near, self.wires[each.index] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.wires[each.index].setblocking(False)
            self.ports.lend(loan(each.key, self.generation, {"igmp": near.detach()}))
        return list(self.asked)

    def join(self, group: int = G) -> None:
        report = encode_report([GroupRecord(RecordType.CHANGE_TO_EXCLUDE, group)])
        self.proxy.receive(1, encode(HOST, ROUTERS, report), self.now)

    def heard(self) -> list[tuple[int, bytes]]:
        said: list[tuple[int, bytes]] = []
        self.listening.breathe(lambda index, packet, now, mac, to: said.append((index, packet)))
        return said

    def joined(self) -> list[tuple[int, int, bool]]:
        return [(each.port, each.group, each.static) for each in self.proxy.groups(self.now)]


@pytest.fixture
def wired() -> Wired:
    made = Wired()
    made.configure(*PORTS)
    made.lend(*PORTS)
    return made


def test_the_ports_there_are(wired):
    assert (list(wired.ports), len(wired.ports), wired.ports.all) == ([0, 1], 2, list(PORTS))
    assert wired.ports[1].name == "tap1"
    wired.configure(PORTS[0])
    assert (list(wired.ports), wired.ports.all) == ([0], [PORTS[0]])


def test_a_port_is_asked_on_once_it_has_its_socket():
    wired = Wired()
    assert wired.configure(*PORTS) == []
    role, query = wired.lend(*PORTS)
    assert role == OURS
    wired.ports.send(query.port, query.packet)
    assert wired.wires[1].recv(100)[14:] == query.packet
    wired.wires[1].send(bytes(14) + b"packet")
    assert wired.heard() == [(1, b"packet")]


def test_what_cannot_be_sent_is_counted_and_without_a_socket_there_is_nothing_to_count(wired):
    packet = encode(HOST, ROUTERS, b"message")
    wired.publisher.port(wired.proxy, 1)
    wired.ports.send(5, packet)
    wired.ports.send(1, packet)
    wired.wires[1].close()
    wired.ports.send(1, packet)
    assert (wired.ports.lost(1), wired.ports.lost(5)) == (0, 0)
    wired.publisher.port(wired.proxy, 1)
    assert MembershipReader(wired.membership).port(1).counters["tx_failed"] == 1


def test_another_socket_takes_the_place_of_the_one_its_port_had_and_the_port_starts_over(wired):
    """Its link went and came back under its name and index: who was there may be elsewhere now."""
    wired.join()
    former, other = wired.wires[1], wired.wires[0]
    assert OURS in wired.lend(PORTS[1])
    assert not held(former)
    assert held(other)
    assert wired.joined() == []
    wired.wires[1].send(bytes(14) + b"packet")
    assert wired.heard() == [(1, b"packet")]


def test_the_same_socket_again_changes_nothing(wired):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    again = os.dup(near.fileno())
    wired.ports.lend(loan((1, 1, 11, 1), wired.generation, {"igmp": near.detach()}))
    wired.join()
    wired.ports.lend(loan((1, 1, 11, 1), wired.generation, {"igmp": again}))
    assert wired.joined() == [(1, G, False)]
    far.close()


def test_a_port_whose_interface_is_another_starts_over(wired):
    wired.join()
    assert wired.joined() == [(1, G, False)]
    moved = port(1, 1, 12)
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0], moved)
    assert wired.joined() == []
    assert wired.lend(moved)[0] == OURS


def test_a_port_that_goes_takes_its_members_along_and_its_index_may_have_another_owner(wired):
    wired.join()
    former = wired.wires[1]
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0])
    assert not held(former)
    wired.configure(*PORTS)
    wired.lend(PORTS[1])
    wired.join()
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0], port(1, 4, 11))
    assert wired.joined() == []


def test_a_port_that_is_down_keeps_its_socket_and_begins_again_when_it_is_up(wired):
    wired.join()
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0], replace(PORTS[1], up=False))
    assert held(wired.wires[1])
    assert wired.configure(*PORTS)[0] == OURS


def test_a_mac_address_that_changed_is_sent_from(wired):
    wired.configure(PORTS[0], replace(PORTS[1], mac="02:00:00:00:00:09"))
    wired.ports.send(1, encode(HOST, ROUTERS, b"message"))
    assert wired.wires[1].recv(100)[6:12] == bytes.fromhex("020000000009")


def test_other_options_leave_the_members_and_another_role_does_not(wired):
    wired.join()
    entry = replace(SETTINGS.interface[1], max_groups=1)
    assert wired.configure(PORTS[0], replace(PORTS[1], settings=entry)) == []
    wired.join(G + 1)
    assert wired.joined() == [(1, G, False)]        # one group, as they say now
    turned = replace(PORTS[1], role="upstream")
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0], turned)
    assert wired.joined() == []
    assert wired.proxy.querier(1) is None
    wired.ports.send(1, encode(HOST, ROUTERS, b"message"))
    assert wired.wires[1].recv(100)


def test_static_groups_come_and_go_in_place_and_come_back_with_another_role(wired):
    added = Added(groups=(("tap1", "239.1.1.1"),))
    assert Route(G, None, 0b10) in wired.configure(*PORTS, added=added)
    assert wired.joined() == [(1, G, True)]
    assert wired.configure(*PORTS, added=added) == []
    wired.configure(PORTS[0], replace(PORTS[1], role="upstream"), added=added)
    assert wired.joined() == [(1, G, True)]
    assert Route(G, None, 0, present=False) not in wired.configure(PORTS[0], replace(PORTS[1], role="upstream"))
    assert wired.joined() == []


def test_lists_are_taken_over_in_place(wired):
    wired.join()
    entry = replace(SETTINGS.interface[1], deny=("239.1.0.0/16",))
    assert Route(G, None, 0, present=False) in wired.configure(PORTS[0], replace(PORTS[1], settings=entry))


def test_a_port_costs_the_same_whatever_the_number_of_others():
    """Lines that are run for it when the limits of all change: of 2,000 ports it took 565 ms when each asked all."""
    def cost(count: int) -> int:
        wired = Wired((routes.create(256, count), membership.create(count)))
        each = [port(index, 1, 10 + index) for index in range(count)]
        wired.configure(*each)
        wired.lend(*each)
        entries = tuple(InterfaceSettings(name=one.name, role=one.role, max_groups=7) for one in each)
        changed = [replace(one, settings=entry) for one, entry in zip(each, entries, strict=True)]
        settings = replace(SETTINGS, interface=entries)
        return lines(lambda: wired.configure(*changed, settings=settings))

    few, many = cost(20), cost(80)
    assert many < 4.2 * few


# --- what is left behind ---


def said_on(wired: Wired, index: int) -> list[bytes]:
    """IGMP messages that went out by a port's socket; its other end is read until there are no more."""
    messages = []
    try:
        while frame := wired.wires[index].recv(2048):
            messages.append(frame[14 + 24 :])
    except BlockingIOError:
        pass
    return messages


@pytest.fixture
def speaking() -> Wired:
    """One whose messages go out by its sockets, as the agent's do, with a group that is joined upstream."""
    made = Wired()

    def carry_out(outputs) -> None:
        for each in outputs:
            made.asked.append(each)
            if isinstance(each, Send):
                made.ports.send(each.port, each.packet)

    made.ports = AgentPorts(made.proxy, made.publisher, made.listening, carry_out, lambda: made.now, lambda _: None)
    made.configure(*PORTS)
    made.lend(*PORTS)
    report = encode_report([GroupRecord(RecordType.CHANGE_TO_EXCLUDE, G)])
    carry_out(made.proxy.receive(1, encode(HOST, ROUTERS, report), made.now))
    assert JOIN in said_on(made, 0)
    return made


JOIN, LEAVE = (encode_report([GroupRecord(kind, G)]) for kind in (RecordType.CHANGE_TO_EXCLUDE,
                                                                  RecordType.CHANGE_TO_INCLUDE))  # fmt: skip


@pytest.mark.parametrize("later", [
    (), (PORTS[1],), (replace(PORTS[0], assigned=2), PORTS[1]),
    *((replace(PORTS[0], role=role), PORTS[1]) for role in ("downstream", "both")),
])  # fmt: skip
def test_groups_upstream_are_left_on_the_link_when_a_port_goes_or_changes_its_role(speaking, later):
    """Its socket was closed first: nothing was said, and routers sent on for minutes."""
    speaking.configure(*later)
    assert said_on(speaking, 0)[0] == LEAVE


def test_a_port_that_is_both_leaves_what_it_joined_when_it_becomes_another(speaking):
    entry = InterfaceSettings(name="eth0", role="both", join=("239.1.1.1",))
    both = replace(PORTS[0], role="both", settings=entry)
    speaking.configure(both)
    assert said_on(speaking, 0)[:2] == [LEAVE, JOIN]
    speaking.configure(PORTS[0])
    assert said_on(speaking, 0)[0] == LEAVE


@pytest.mark.parametrize("later", [(PORTS[0],), (PORTS[0], replace(PORTS[1], role="upstream"))])
def test_what_is_joined_on_a_downstream_port_is_left_when_it_goes(speaking, later):
    entry = replace(SETTINGS.interface[1], join=("239.1.1.1",))
    speaking.configure(PORTS[0], replace(PORTS[1], settings=entry))
    assert JOIN in said_on(speaking, 1)
    speaking.configure(*later)
    assert LEAVE in said_on(speaking, 1)


# --- beside the host's own kernel ---


@pytest.mark.parametrize(("kernels", "count"), [({G: EVERYTHING, G + 1: EVERYTHING}, 2), ({}, 0), (None, 0)])
def test_upstream_the_kernel_is_asked_what_it_holds_already(wired, kernels, count):
    wired.kernels = kernels
    wired.lend(PORTS[0])
    assert (wired.proxy.held_count(0), wired.proxy.held_count(1)) == (count, 0)
    wired.publisher.port(wired.proxy, 0)
    assert MembershipReader(wired.membership).port(0).held == count


def test_what_the_kernel_holds_is_confirmed_upstream_once_in_a_while(wired):
    wired.kernels = {G: EVERYTHING, G + 1: EVERYTHING}
    wired.lend(PORTS[0])
    wired.kernels = {G: EVERYTHING}
    counts = []
    for turn in range(1, CONFIRMED + 1):
        wired.ports.confirm(turn)
        counts.append(wired.proxy.held_count(0))
    assert counts == [2] * (CONFIRMED - 1) + [1]
    wired.kernels = None
    wired.ports.confirm(2 * CONFIRMED)
    assert wired.proxy.held_count(0) == 1


def test_what_was_left_upstream_to_who_was_overheard_is_confirmed_next_time(wired):
    def report(kind: RecordType) -> bytes:
        return encode_report([GroupRecord(kind, G)])

    wired.join()
    wired.proxy.overhear(0, encode(parse_address("10.0.0.1"), ROUTERS, report(RecordType.CHANGE_TO_EXCLUDE)), wired.now)
    wired.kernels = {}
    wired.proxy.receive(1, encode(HOST, ROUTERS, report(RecordType.CHANGE_TO_INCLUDE)), wired.now)
    wired.now += 60.0
    wired.proxy.expire(wired.now)
    del wired.asked[:]
    wired.ports.confirm(CONFIRMED - 1)
    assert [(each.port, each.packet[24:]) for each in wired.asked] == [(0, report(RecordType.CHANGE_TO_INCLUDE))]
    assert wired.proxy.held_count(0) == 0
