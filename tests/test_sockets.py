"""A port's sockets: what they fit, and one of several rings in the place of another."""

import os
import socket
from dataclasses import fields, replace

from forwarder.lab.wait import wait_for
from forwarder.state.ports import Port
from forwarder.state.ring_memory import LEAST
from forwarder.state.settings import DataplaneSettings, InterfaceSettings
from forwarder.supervisor.ports import PortOpener
from forwarder.supervisor.sockets import PortSockets

PORT = Port(3, 7, "eth1", "downstream", InterfaceSettings(name="eth1"), 11)


def sockets(**said: object) -> PortSockets:
    return PortSockets(**{field.name: None for field in fields(PortSockets)} | {"key": PORT.key, **said})


def test_sockets_fit_the_port_they_were_opened_for_in_its_role():
    opened = sockets(role="downstream")
    assert opened.fit(PORT) is True
    others = {"index": 4, "assigned": 8, "ifindex": 12, "link_type": 65534, "role": "upstream"}
    assert not any(opened.fit(replace(PORT, **{key: value})) for key, value in others.items())
    assert opened.fit(replace(PORT, name="eth9", up=True, mtu=9000))


def test_one_ring_takes_the_place_of_another():
    opened = sockets(rings=("first", "second", "third"))
    assert [opened.with_ring(at, "new").rings for at in range(3)] == [
        ("new", "second", "third"), ("first", "new", "third"), ("first", "second", "new"),
    ]  # fmt: skip
    assert opened.rings == ("first", "second", "third")


def test_all_that_could_not_be_opened_is_told_of_and_may_be_tried_again():
    """Interfaces that do not exist: an error for whoever may open packet sockets and for who may not."""
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    opener = PortOpener(DataplaneSettings(), bell, True)
    ports = [replace(PORT, index=index, ifindex=(1 << 30) + index) for index in range(3)]
    for _ in range(2):
        for each in ports:
            opener.open(each, False, LEAST)
        assert opener.busy
        rung: list[int] = []
        wait_for(lambda rung=rung: rung.append(ringing(bell)) or sum(rung) == len(ports), 30.0, "all of them")
        failed: dict[object, Exception] = {}
        assert opener.done(failed.__setitem__) == []
        assert {*failed} == {each.key for each in ports}
        assert all(isinstance(error, OSError) for error in failed.values())
        assert not opener.busy
    opener.shutdown()
    os.close(bell)


def ringing(bell: int) -> int:
    try:
        return os.eventfd_read(bell)
    except BlockingIOError:
        return 0


def test_sockets_of_which_the_system_does_not_say_whether_they_are_bound_are_kept():
    with socket.socketpair()[0] as closed:
        pass
    assert not sockets(rings=(), transmit=closed, igmp=closed).outlived()


class Unprivileged:
    """A socket of a process without CAP_NET_RAW, or with it on a kernel that wants CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self.priorities: list[int] = []

    def setsockopt(self, level: int, name: int, value: int) -> None:
        assert (level, name) == (socket.SOL_SOCKET, socket.SO_PRIORITY)
        if value > 6:
            raise PermissionError
        self.priorities.append(value)


def test_a_priority_that_takes_a_capability_becomes_the_highest_that_does_not():
    sock = Unprivileged()
    for priority in (7, 3, 0, 0x10001):
        sockets(igmp=sock).prioritise(priority)
    assert sock.priorities == [6, 3, 0, 6]
