"""The agent's ports: descriptors are kept as long as configuration and loan may still meet, and no longer."""

import os
import socket

import pytest

from forwarder.agent.listening import Listening
from forwarder.agent.ports import Ports
from forwarder.agent.publisher import Publisher
from forwarder.state import membership, routes
from forwarder.state.ports import Configuration, Port
from forwarder.state.settings import InterfaceSettings, Settings
from igmp.proxy import Proxy

SETTINGS = Settings(interface=(InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap*")))


def port(index: int, assigned: int, ifindex: int) -> Port:
    interface = SETTINGS.interface[min(index, 1)]
    name = f"tap{index}" if index else "eth0"
    return Port(index, assigned, name, interface.role, interface, ifindex, True, "02:00:00:00:00:01")


@pytest.fixture
def ports() -> Ports:
    publisher = Publisher(routes.create(256, 8), membership.create(8), [])
    return Ports(Proxy(lambda: 0.5), publisher, Listening(), lambda outputs: None)


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
    ports.lend((1, 1, 11), number, 1)
    assert held(ours)
    ports.configure(Configuration(2, SETTINGS, (port(0, 1, 10),)))
    assert not held(ours)


def test_a_socket_that_came_before_its_port_is_kept_for_it(ports, descriptor):
    number, ours = descriptor
    ports.lend((1, 3, 11), number, 3)
    ports.configure(Configuration(2, SETTINGS, (port(0, 1, 10),)))
    assert held(ours)
    ports.configure(Configuration(3, SETTINGS, (port(0, 1, 10), port(1, 3, 11))))
    os.close(os.dup(number))        # still the agent's
    assert held(ours)


def test_a_socket_that_was_lent_for_an_interface_of_the_past_is_let_go(ports, descriptor):
    number, ours = descriptor
    ports.lend((1, 2, 11), number, 2)
    ports.configure(Configuration(4, SETTINGS, (port(0, 1, 10), port(1, 2, 12))))
    assert not held(ours)
