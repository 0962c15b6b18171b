"""What is tried again smaller and what is not, with rings that the test refuses or makes of anything that closes."""

import errno
import os
import resource
import socket
from dataclasses import replace

import pytest

from forwarder.packet.packet_socket import PortError, UnsupportedLink
from forwarder.packet.tpacket import RingLayout
from forwarder.state.ports import Port
from forwarder.state.ring_memory import BLOCK, LEAST
from forwarder.state.settings import DataplaneSettings, InterfaceSettings
from forwarder.supervisor.opener import SPARED, PortOpener
from forwarder.supervisor.sockets import WorkerRing

PORT = Port(0, 1, "eth0", "upstream", InterfaceSettings(name="eth0", role="upstream"), ifindex=4711)


class Rings:
    """Sockets instead of rings; those of more than `most` blocks are refused with `refusal`, or any after `number`."""

    def __init__(self, refusal: PortError, most: int = 0, number: int = 1000) -> None:
        self.refusal, self.most, self.number = refusal, most, number
        self.tried: list[int] = []
        self.made: list[socket.socket] = []

    def __call__(self, ifindex, name, layout, promiscuous, share) -> socket.socket:
        assert (ifindex, name, layout.block_size) == (PORT.ifindex, PORT.name, BLOCK)
        self.tried.append(layout.block_nr)
        if layout.block_nr > self.most or len(self.made) >= self.number:
            raise self.refusal
        self.made.append(socket.socket(socket.AF_UNIX))
        return self.made[-1]


def refusal(operation: str, number: int) -> PortError:
    return PortError("receive ring", operation, "eth0", number)


@pytest.fixture
def bell():
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def failure(opener: PortOpener) -> Exception:
    opener.open(PORT, promiscuous=False, blocks=100)
    opener.shutdown()
    failures = []
    assert opener.done(lambda key, error: failures.append((key, error))) == []
    [(key, error)] = failures
    assert (key, opener.busy) == (PORT.key, False)
    return error


def test_where_the_kernel_has_no_memory_half_is_tried_down_to_the_least(bell):
    rings = Rings(refusal("PACKET_RX_RING", errno.ENOMEM))
    assert failure(PortOpener(DataplaneSettings(), bell, True, rings)) is rings.refusal
    assert rings.tried == [100, 50, 25, 12, 6, LEAST]


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        ("socket", errno.EMFILE), ("socket", errno.EPERM), ("socket", errno.ENOMEM), ("SO_ATTACH_FILTER", errno.ENOMEM),
        ("PACKET_RX_RING", errno.EINVAL), ("bind", errno.ENODEV),
    ],
)  # fmt: skip
def test_what_a_smaller_ring_would_not_cure_is_not_tried_again(bell, operation, number):
    rings = Rings(refusal(operation, number))
    assert failure(PortOpener(DataplaneSettings(), bell, True, rings)) is rings.refusal
    assert rings.tried == [100]


def test_a_link_of_a_type_that_children_would_not_understand_is_not_opened(bell):
    """It may be another type by now: whoever has a tap may change it at any time while it is down."""
    rings, failures = Rings(refusal("bind", errno.ENODEV), most=100), []
    opener = PortOpener(DataplaneSettings(), bell, True, rings)
    opener.open(replace(PORT, link_type=32), promiscuous=False, blocks=4)
    opener.shutdown()
    assert opener.done(lambda key, error: failures.append(error)) == []
    assert [type(error) for error in failures] == [UnsupportedLink]
    assert rings.tried == []


def test_ports_leave_the_last_descriptors_to_children(bell):
    """However low the limit is that somebody sets: the numbers that are free are given from the lowest on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    rings = Rings(refusal("bind", errno.ENODEV), most=100)
    opener = PortOpener(DataplaneSettings(), bell, True, rings)
    with open(os.devnull) as file:
        lowest = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + SPARED, limits[1]))
    try:
        opener.open(PORT, promiscuous=False, blocks=4)
        opener.shutdown()
        failures = []
        assert opener.done(lambda key, error: failures.append(error)) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [(error.operation, error.errno) for error in failures] == [("socket", errno.EMFILE)]
    assert [made.fileno() for made in rings.made] == [-1]


def test_all_workers_get_rings_of_a_size_and_what_was_opened_before_a_refusal_is_closed(bell):
    rings = Rings(refusal("PACKET_RX_RING", errno.ENOMEM), most=100, number=2)
    failure(PortOpener(DataplaneSettings(workers=3), bell, True, rings))
    assert rings.tried == [100, 100, 100, 50, 25, 12, 6, LEAST]
    assert [made.fileno() for made in rings.made] == [-1, -1]


@pytest.mark.parametrize(("least", "blocks"), [(LEAST, 25), (26, None)])
def test_a_ring_that_replaces_another_may_be_smaller_than_asked_but_not_than_it_is_worth(bell, least, blocks):
    rings = Rings(refusal("PACKET_RX_RING", errno.ENOMEM), most=30)
    opener = PortOpener(DataplaneSettings(), bell, True, rings)
    former = socket.socket(socket.AF_UNIX)
    opener.replace_ring(PORT, False, 0, 100, least, WorkerRing(former, RingLayout(block_nr=8)))
    opener.shutdown()
    failures = []
    made = opener.replaced(lambda place, error: failures.append(error))
    assert [each.ring.layout.block_nr for each in made] == ([blocks] if blocks else [])
    assert [each.refused for each in made] + failures == [rings.refusal]
    for each in (former, *rings.made):
        each.close()


def test_what_is_closed_is_held_until_children_have_let_go_of_it_but_not_at_the_end(bell):
    """Or a worker would be the last to close it, which takes the kernel 10 ms and more, and reads no ring meanwhile."""
    opener = PortOpener(DataplaneSettings(), bell, True)
    one, theirs = socket.socketpair()
    opener.close_ring(WorkerRing(one, RingLayout(block_nr=LEAST)))
    with theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        opener.shutdown()
        assert theirs.recv(1) == b""    # its other end is closed
