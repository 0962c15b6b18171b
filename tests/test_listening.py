"""The shell around the protocol: every port is heard in turn, no turn is long, nothing is left to be collected."""

import gc
import itertools
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from forwarder.agent import rest
from forwarder.agent.igmp_socket import IgmpSocket
from forwarder.agent.listening import BREATH, QUOTA, Listening
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings
from igmp.link import Link, Network, parse_address
from igmp.messages import GroupRecord, RecordType, encode_report
from igmp.packet import encode
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

ADDRESSES = bytes.fromhex("01005e000016 020000000009 0800")
G, HOST, ROUTERS = parse_address("239.1.1.1"), parse_address("10.0.1.9"), parse_address("224.0.0.22")


def port(index: int, link_type: int = 1) -> Port:
    settings = InterfaceSettings(name=f"eth{index}")
    return Port(
        index=index, assigned=1, name=settings.name, role="downstream", settings=settings, link_type=link_type
    )


@contextmanager
def listened(
    count: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[Listening, list[IgmpSocket], list[socket.socket]]]:
    """Ports that are listened to, and the other ends of their wires."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
    listening = Listening(clock)
    attachments = [IgmpSocket(near.detach(), port(index)) for index, (near, _) in enumerate(pairs)]
    for each in attachments:
        listening.add(each)
    try:
        yield listening, attachments, [far for _, far in pairs]
    finally:
        for closed in (*attachments, *(far for _, far in pairs)):
            closed.close()


def say(wire: socket.socket, *packets: bytes) -> None:
    for packet in packets:
        wire.send(ADDRESSES + packet)


def test_every_port_is_heard_in_its_turn():
    with listened(3) as (listening, _, wires):
        say(wires[0], *([b"loud"] * 3 * QUOTA))
        say(wires[1], b"quiet")
        say(wires[2], b"quiet")
        heard: list[int] = []
        assert not listening.breathe(lambda index, *_: heard.append(index))
        assert heard.index(1) <= QUOTA + 1
        assert heard.index(2) <= QUOTA + 1
        assert [heard.count(index) for index in range(3)] == [3 * QUOTA, 1, 1]


def test_a_packet_comes_with_whom_it_is_from_and_to_and_without_its_link_header():
    with listened(1) as (listening, _, wires):
        say(wires[0], b"packet")
        heard: list[tuple[int, bytes, int, int]] = []
        listening.breathe(lambda index, packet, _, mac, to: heard.append((index, packet, mac, to)))
        assert heard == [(0, b"packet", 0x0200_0000_0009, 0x0100_5E00_0016)]


def test_packets_are_dated_when_they_are_read():
    moments = iter([10.0, 10.001, 10.002, 20.0, 20.5])
    with listened(1, lambda: next(moments)) as (listening, _, wires):
        say(wires[0], b"one", b"two")
        heard: list[tuple[bytes, float]] = []

        def hear(_: int, packet: bytes, now: float, mac: int, to: int) -> None:
            heard.append((packet, now))

        assert not listening.breathe(hear)
        assert heard == [(b"one", 10.001), (b"two", 10.002)]
        say(wires[0], b"late")
        assert listening.breathe(hear)      # more than a breath later: others have their turn
        assert heard[2:] == [(b"late", 20.5)]


def test_a_link_without_header_has_none_to_take_off():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attachment = IgmpSocket(near.detach(), port(0, link_type=0xFFFE))
    with far:
        far.send(b"packet")
        assert attachment.receive() == (b"packet", 0, 0, False)
        assert attachment.receive() is None
        attachment.close()


def test_a_breath_ends_and_the_next_goes_on_where_it_ended():
    with listened(2) as (listening, _, wires):
        for wire in wires:
            say(wire, *([b"packet"] * 20))
        heard: list[int] = []

        def slow(index: int, packet: bytes, now: float, mac: int, to: int) -> None:
            heard.append(index)
            while time.monotonic() < now + BREATH / 4:
                pass

        begun = time.monotonic()
        assert listening.breathe(slow)
        assert time.monotonic() - begun < 20 * BREATH
        assert 0 < len(heard) < 40
        while listening.breathe(slow):
            pass
        assert [heard.count(index) for index in (0, 1)] == [20, 20]


def test_what_waited_at_a_moment_is_owed_and_not_what_comes_after_it():
    """A flood: with every packet that is heard two more come, and yet what was owed is heard soon."""
    far, near = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    near.bind(("127.0.0.1", 0))
    far.connect(near.getsockname())
    moments = itertools.count(0.0, 2 * BREATH)                  # a breath hears one packet
    listening, attachment = Listening(lambda: next(moments)), IgmpSocket(near.detach(), port(0))
    listening.add(attachment)
    with closing(far), closing(attachment):
        assert not listening.owes
        say(far, *([b"before"] * 20))
        listening.owe()
        heard: list[bytes] = []
        while listening.owes:
            assert listening.breathe(lambda _, packet, *rest: heard.append(packet))
            say(far, b"after", b"after")
        assert heard[:20] == [b"before"] * 20
        assert len(heard) <= 20 * 8                             # what is known is what they take, not how many they are
        listening.owe()
        while listening.breathe(lambda *_: None):
            pass
        assert not listening.owes


def test_what_a_port_owes_goes_with_it():
    with listened(1, lambda: 0.0) as (listening, [attachment], wires):
        say(wires[0], b"packet")
        listening.owe()
        attachment.owed = 5
        assert listening.owes
        listening.remove(attachment)
        assert not listening.owes


def test_what_cannot_be_sent_is_said():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attachment = IgmpSocket(near.detach(), port(0))
    packet = encode(HOST, ROUTERS, b"message")
    assert attachment.send(packet) is True
    assert far.recv(100) == bytes.fromhex("01005e000016") + bytes(6) + b"\x08\x00" + packet
    attachment.refresh(replace(port(0), mac="02:00:00:00:00:07"))
    assert attachment.send(packet)
    assert far.recv(100)[6:12] == bytes.fromhex("020000000007")
    far.close()
    assert attachment.send(packet) is False
    attachment.close()


def test_a_link_without_header_is_sent_the_packet_alone():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attachment = IgmpSocket(near.detach(), port(0, link_type=0xFFFE))
    with far:
        attachment.refresh(port(0, link_type=0xFFFE))
        assert attachment.send(encode(HOST, ROUTERS, b"message"))
        assert far.recv(100) == encode(HOST, ROUTERS, b"message")
        assert attachment.lost() == 0       # such a socket does not count
        attachment.close()


def test_an_error_of_the_link_is_no_packet_and_the_next_one_comes():
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as near:
        near.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            near.connect(nobody.getsockname())
        near.send(b"to a port that was closed")
        attachment = IgmpSocket(os.dup(near.fileno()), port(0))
        assert attachment.receive() is None     # ECONNREFUSED, once
        assert attachment.receive() is None
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        attachment.close()


def test_a_port_that_is_gone_is_not_heard():
    with listened(2) as (listening, attachments, wires):
        for wire in wires:
            say(wire, b"packet")
        listening.remove(attachments[0])
        heard: list[int] = []
        listening.breathe(lambda index, *_: heard.append(index))
        assert heard == [1]


def test_a_port_that_is_gone_is_held_by_nobody_and_loses_its_turn():
    with listened(1) as (listening, _, wires):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gone = IgmpSocket(near.detach(), port(7))
        listening.add(gone)
        say(wires[0], *([b"packet"] * (QUOTA + 1)))
        say(far, *([b"packet"] * (QUOTA + 1)))
        heard: list[int] = []

        def slow(index: int, packet: bytes, now: float, mac: int, to: int) -> None:
            heard.append(index)
            while time.monotonic() < now + 2 * BREATH:
                pass

        assert listening.breathe(slow)      # both are noticed, one is heard
        listening.remove(gone)
        held = weakref.ref(gone)
        gone.close()
        del gone
        assert held() is None
        while listening.breathe(lambda index, *_: heard.append(index)):
            pass
        assert heard.count(0) == QUOTA + 1
        assert heard.count(7) <= 1
        far.close()


def report(kind: RecordType, group: int, *sources: int) -> bytes:
    return encode(HOST, ROUTERS, encode_report([GroupRecord(kind, group, sources)]))


def test_joins_and_leaves_leave_nothing_for_the_collector():
    """What `rest` freezes unseen would stay for ever if it were garbage; so the protocol must make no cycles."""
    proxy = Proxy(lambda: 0.5)
    for index, role in enumerate(("upstream", "downstream", "downstream")):
        proxy.add_port(index, PortOptions(role))
        proxy.port_up(index, Link((Network(parse_address(f"10.0.{index}.1"), 24),)), 0.0)
    now = 0.0
    gc.collect()
    gc.disable()
    try:
        for turn in range(300):
            for kind, sources in ((RecordType.CHANGE_TO_EXCLUDE, ()), (RecordType.ALLOW_NEW_SOURCES, (HOST,))):
                proxy.receive(1, report(kind, G + turn % 7, *sources), now)
            proxy.receive(1, b"not a packet", now)
            proxy.receive(1, report(RecordType.CHANGE_TO_INCLUDE, G + turn % 7), now)
            while proxy.deadline <= now + 3.0:
                now = max(now, proxy.deadline)
                proxy.expire(now)
            now += 3.0
        assert gc.collect() == 0
    finally:
        gc.enable()


class Knot:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collecting() -> Iterator[None]:
    """Afterwards it collects as ever."""
    gc.collect()
    yield
    gc.unfreeze()
    gc.enable()


def test_from_the_beginning_only_rest_collects(collecting):
    before = weakref.ref(Knot())
    rest.begin()
    assert before() is None
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0
    since = weakref.ref(Knot())
    rest.rest()
    assert since() is None


def test_rest_leaves_what_is_too_much_to_look_at(collecting):
    rest.begin()
    lost = weakref.ref(Knot())
    kept = [[number] for number in range(rest.MOST + 1000)]
    rest.rest()
    assert lost() is not None
    assert gc.get_count()[0] < len(kept)


def test_rest_walks_over_what_is_new_only():
    kept = [[number] for number in range(1000)]
    gc.collect()
    before = gc.get_freeze_count()
    try:
        rest.rest()
        assert gc.get_freeze_count() >= before + len(kept)
        assert gc.get_count()[0] < len(kept)
    finally:
        gc.unfreeze()
