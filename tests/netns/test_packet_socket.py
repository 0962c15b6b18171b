"""Packet sockets on real links: `left` and `right` are the two ends of a veth pair, each in its own namespace."""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lacks import is_root

from forwarder.agent.igmp_socket import IgmpSocket
from forwarder.dataplane.ring import Batch, ReceiveRing
from forwarder.dataplane.transmit import Messages, probe_gso, send_frame, strided
from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.packet import bpf, packet_socket, tpacket
from forwarder.packet.packet_socket import PortError, RingLayout
from forwarder.packet.structures import TPACKET2_HDR
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings

pytestmark = pytest.mark.netns

LAYOUT = RingLayout(block_size=16 * 1024, block_nr=256)  # slow senders use up a block a millisecond
GROUP, PORT = "239.1.2.3", 5004
SENDER, RECEIVER = "10.9.0.1", "10.9.0.2"
VNET = bytes(10)


@dataclass
class Pair:
    left: Namespace
    right: Namespace

    def ring(self, layout: RingLayout = LAYOUT, share: bpf.Share = bpf.WHOLE) -> socket.socket:
        index = links.index(self.right, "right")
        return self.right.run(packet_socket.open_receive_ring, index, "right", layout, False, share)

    def transmit(self) -> socket.socket:
        return self.left.run(packet_socket.open_transmit, links.index(self.left, "left"), "left")

    def mac(self, end: str) -> bytes:
        side = self.left if end == "left" else self.right
        return bytes.fromhex(links.attribute(side, end, "IFLA_ADDRESS").replace(":", ""))

    def sender(self) -> socket.socket:
        sock = self.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(SENDER))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        return sock

    def receiver(self) -> socket.socket:
        sock = self.right.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("", PORT))
        request = socket.inet_aton(GROUP) + socket.inet_aton(RECEIVER)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.settimeout(2)
        return sock


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        try:
            left, right = stack.enter_context(Namespace("left")), stack.enter_context(Namespace("right"))
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        links.veth(left, "left", right, "right")
        for side, name, address in ((left, "left", SENDER), (right, "right", RECEIVER)):
            links.add_address(side, name, f"{address}/24")
            links.up(side, name)
        links.wait_up(left, "left")
        links.wait_up(right, "right")
        yield Pair(left, right)


class Reader:
    """A mapped ring that copies what it is lent: [(vnet header, frame)]."""

    def __init__(self, sock: socket.socket, layout: RingLayout = LAYOUT) -> None:
        self.sock = sock
        self.memory = packet_socket.map_ring(sock, layout)
        self.ring = ReceiveRing(self.memory, layout)

    def wait(self, timeout: float = 2.0) -> Batch | None:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return self.ring.batch() if poll.poll(timeout * 1000) and self.ring.look() else None

    def take(self, count: int, timeout: float = 2.0) -> list[tuple[bytes, bytes]]:
        frames: list[tuple[bytes, bytes]] = []
        while len(frames) < count and (batch := self.wait(timeout)) is not None:
            for mac, snaplen in zip(batch.mac.tolist(), batch.snaplen.tolist(), strict=True):
                raw = batch.buffer[mac - 10 : mac + snaplen].tobytes()
                frames.append((raw[:10], raw[10:]))
            self.ring.release()
        return frames

    def close(self) -> None:
        self.ring.close()
        self.memory.close()
        self.sock.close()


@pytest.fixture
def reader(pair: Pair) -> Iterator[Reader]:
    opened = Reader(pair.ring())
    yield opened
    opened.close()


def ipv4(destination: str, payload: bytes, source: str = SENDER, protocol: int = 17) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 8, protocol, 0) + ends
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:] + payload


def udp(payload: bytes, port: int = PORT) -> bytes:
    return struct.pack("!4H", PORT, port, 8 + len(payload), 0) + payload


def ethernet(pair: Pair, packet: bytes, destination: bytes = b"\x01\x00\x5e\x01\x02\x03") -> bytes:
    return destination + pair.mac("left") + b"\x08\x00" + packet


def test_ip_header_of_ring_frames_lies_at_a_multiple_of_eight(pair: Pair, reader: Reader) -> None:
    pair.sender().sendto(b"one", (GROUP, PORT))
    batch = reader.wait()
    assert batch is not None
    assert (batch.net - batch.frame).tolist() == [tpacket.NET]
    assert (batch.mac - batch.frame).tolist() == [tpacket.NET - 14]
    assert batch.frame[0] % 8 == 0
    assert batch.length.tolist() == batch.snaplen.tolist() == [14 + 20 + 8 + 3]


def test_unfinished_checksum_of_a_local_sender_shows_in_the_vnet_header(pair: Pair, reader: Reader) -> None:
    pair.sender().sendto(b"one", (GROUP, PORT))
    [(vnet, frame)] = reader.take(1)
    flags, gso_type, _, _, start, offset = tpacket.VNET_HDR.unpack(vnet)
    assert (flags, gso_type) == (tpacket.VIRTIO_NET_HDR_F_NEEDS_CSUM, tpacket.VIRTIO_NET_HDR_GSO_NONE)
    assert (start, offset) == (34, 6)
    assert frame[42:] == b"one"


# RFC 9776 9.1 a
def test_ring_takes_multicast_only_and_no_igmp(pair: Pair, reader: Reader) -> None:
    out = pair.transmit()
    others = [("224.0.0.22", 2), ("239.1.1.1", 2), ("223.255.255.255", 17), ("240.0.0.1", 17)]
    for destination, protocol in others:
        assert send_frame(out.fileno(), VNET + ethernet(pair, ipv4(destination, udp(b""), protocol=protocol))) == 0
    wanted = ["224.0.0.0", "224.0.0.251", "224.0.1.0", "232.0.0.1", "239.255.255.255"]
    for destination in wanted:
        assert send_frame(out.fileno(), VNET + ethernet(pair, ipv4(destination, udp(b"")))) == 0
    seen = [socket.inet_ntoa(frame[30:34]) for _, frame in reader.take(len(wanted))]
    assert seen == wanted
    assert reader.take(1, timeout=0.05) == []


def test_frames_for_another_host_are_left_alone(pair: Pair, reader: Reader) -> None:
    out = pair.transmit()
    elsewhere = b"\x02\xff\xff\xff\xff\xff"
    assert send_frame(out.fileno(), VNET + ethernet(pair, ipv4(GROUP, udp(b"other")), elsewhere)) == 0
    assert send_frame(out.fileno(), VNET + ethernet(pair, ipv4(GROUP, udp(b"ours")))) == 0
    assert [frame[42:46] for _, frame in reader.take(1)] == [b"ours"]
    assert reader.take(1, timeout=0.05) == []


def test_shares_of_several_rings_are_disjoint_and_complete(pair: Pair) -> None:
    readers = [Reader(pair.ring(share=bpf.Share(worker, 3))) for worker in range(3)]
    out = pair.transmit()
    groups = [f"239.7.{number}.1" for number in range(60)]
    for group in groups:
        assert send_frame(out.fileno(), VNET + ethernet(pair, ipv4(group, udp(b"")))) == 0
    seen = [[socket.inet_ntoa(frame[30:34]) for _, frame in reader.take(60, timeout=0.05)] for reader in readers]
    assert sorted(group for share in seen for group in share) == sorted(groups)
    assert all(len(share) > 5 for share in seen)
    for reader in readers:
        reader.close()


def test_filter_cannot_be_exchanged(reader: Reader) -> None:
    program, memory = bpf.fprog([bpf.ACCEPT])
    with pytest.raises(PermissionError):
        reader.sock.setsockopt(socket.SOL_SOCKET, tpacket.SO_ATTACH_FILTER, program)
    assert memory is not None


def test_messages_reach_an_ordinary_receiver_in_order(pair: Pair) -> None:
    out, receiver = pair.transmit(), pair.receiver()
    count, packets = 200, [ipv4(GROUP, udp(b"%05d" % number + bytes(1300))) for number in range(200)]
    headers = np.frombuffer(b"".join(VNET + ethernet(pair, packet[:20]) for packet in packets), np.uint8)
    payloads = np.frombuffer(b"".join(packet[20:] for packet in packets), np.uint8)
    messages = Messages(count)
    size = len(packets[0]) - 20
    messages.fill(
        strided(headers.ctypes.data, 44, count),
        44,
        strided(payloads.ctypes.data, size, count),
        np.full(count, size, np.uint64),
    )
    assert messages.send(out.fileno()) == (count, count * (size + 34), 0, 0)
    assert [receiver.recv(2000)[:5] for _ in range(count)] == [b"%05d" % number for number in range(count)]
    assert messages.send(out.fileno(), np.array([7, 3])).sent == 2
    assert [receiver.recv(2000)[:5] for _ in range(2)] == [b"00007", b"00003"]


def two_sizes(pair: Pair, sizes: list[int]) -> tuple[Messages, list[np.ndarray]]:
    header = np.frombuffer(VNET + ethernet(pair, ipv4(GROUP, udp(b""))[:20]), np.uint8)
    payload = np.zeros(3000, np.uint8)
    messages = Messages(len(sizes))
    messages.fill(
        strided(header.ctypes.data, 0, len(sizes)),
        44,
        strided(payload.ctypes.data, 0, len(sizes)),
        np.array(sizes, np.uint64),
    )
    return messages, [header, payload]


def test_a_frame_beyond_the_mtu_costs_only_itself(pair: Pair) -> None:
    messages, memory = two_sizes(pair, [100, 2000, 2000, 100, 2000])
    out = pair.transmit()
    sent = messages.send(out.fileno())
    assert sent == (2, 2 * 134, 3, errno.EMSGSIZE)
    assert memory


def test_sending_stops_where_the_link_is_down_and_resumes_when_it_is_up(pair: Pair) -> None:
    messages, memory = two_sizes(pair, [100] * 50)
    out = pair.transmit()
    links.down(pair.left, "left")
    assert messages.send(out.fileno()) == (0, 0, 50, errno.ENETDOWN)
    links.up(pair.left, "left")
    links.wait_up(pair.left, "left")
    assert messages.send(out.fileno()).sent == 50
    assert memory


def test_peer_without_carrier_fails_the_batch(pair: Pair) -> None:
    messages, memory = two_sizes(pair, [100] * 200)
    out = pair.transmit()
    links.down(pair.right, "right")
    sent = messages.send(out.fileno())
    assert sent.sent + sent.failed == 200
    assert memory


def test_transmit_socket_receives_nothing(pair: Pair) -> None:
    out = pair.transmit()
    back = pair.right.socket(socket.AF_INET, socket.SOCK_DGRAM)
    back.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(RECEIVER))
    back.sendto(b"x", (GROUP, PORT))
    with pytest.raises(BlockingIOError):
        out.recv(100)


def snmp(side: Namespace) -> str:
    return side.read_proc("snmp") + side.read_proc("netstat")


@pytest.mark.parametrize("address", [SENDER, "0.0.0.0"])
def test_probe_is_accepted_and_moves_no_protocol_counter_of_the_peer(pair: Pair, address: str) -> None:
    out, number = pair.transmit(), int.from_bytes(socket.inet_aton(address))
    before = snmp(pair.right)
    frames = links.attribute(pair.right, "right", "IFLA_STATS64")["rx_packets"]
    assert probe_gso(out.fileno(), pair.mac("left"), number) is True
    assert links.attribute(pair.right, "right", "IFLA_STATS64")["rx_packets"] == frames + 1
    assert snmp(pair.right) == before


def test_probe_on_a_link_that_is_down_gives_no_answer(pair: Pair) -> None:
    out = pair.transmit()
    links.down(pair.left, "left")
    with pytest.raises(OSError, match="down"):
        probe_gso(out.fileno(), pair.mac("left"), 0)


# RFC 9776 6 b
def test_igmp_socket_hears_igmp_and_nothing_else(pair: Pair) -> None:
    index = links.index(pair.right, "right")
    igmp = pair.right.run(packet_socket.open_igmp, index, "right", False)
    out = pair.transmit()
    report = ethernet(pair, ipv4("224.0.0.22", b"\x22\0\0\0\0\0\0\0", protocol=2))
    for frame in (ethernet(pair, ipv4(GROUP, udp(b"x"))), report):
        assert send_frame(out.fileno(), VNET + frame) == 0
    igmp.setblocking(True)
    igmp.settimeout(2)
    assert igmp.recv(2000) == report
    igmp.setblocking(False)
    with pytest.raises(BlockingIOError):
        igmp.recv(2000)


def test_igmp_socket_sends_frames_as_they_are(pair: Pair) -> None:
    left = pair.left.run(packet_socket.open_igmp, links.index(pair.left, "left"), "left", True)
    right = pair.right.run(packet_socket.open_igmp, links.index(pair.right, "right"), "right", False)
    query = ethernet(pair, ipv4("224.0.0.1", b"\x11\x64\xee\x9b\0\0\0\0", protocol=2))
    left.send(query)
    right.settimeout(2)
    assert right.recv(2000) == query


def test_a_shared_igmp_socket_hears_the_link_and_this_host_but_not_itself_and_knows_which(pair: Pair) -> None:
    index = links.index(pair.right, "right")
    shared = pair.right.run(packet_socket.open_igmp, index, "right", False, True)
    other = pair.right.run(packet_socket.open_igmp, index, "right", False)
    left = pair.left.run(packet_socket.open_igmp, links.index(pair.left, "left"), "left", True)
    buffer = ctypes.create_string_buffer(2000)
    theirs, ours, hosts = (ethernet(pair, ipv4(f"239.9.9.{n}", b"\x16" + bytes(7), protocol=2)) for n in range(3))
    left.send(theirs)       # with our addresses, as who forges would send it
    select.select([shared], [], [], 2)
    assert packet_socket.receive_sighted(shared, buffer) == (theirs, False)
    packet_socket.send_ipv4(shared, index, ours)
    left.settimeout(2)
    assert left.recv(2000) == ours
    other.send(hosts)
    assert packet_socket.receive_sighted(shared, buffer) == (hosts, True)
    with pytest.raises(BlockingIOError):
        packet_socket.receive_sighted(shared, buffer)


def test_a_shared_igmp_socket_hears_nothing_but_igmp(pair: Pair) -> None:
    index = links.index(pair.right, "right")
    shared = pair.right.run(packet_socket.open_igmp, index, "right", False, True)
    igmp = ethernet(pair, ipv4("239.9.9.9", b"\x16" + bytes(7), protocol=2))
    out = pair.transmit()
    for frame in (ethernet(pair, ipv4(GROUP, udp(b"x"))), igmp[:12] + b"\x86\xdd" + igmp[14:], igmp):
        assert send_frame(out.fileno(), VNET + frame) == 0
    select.select([shared], [], [], 2)
    buffer = ctypes.create_string_buffer(2000)
    assert packet_socket.receive_sighted(shared, buffer) == (igmp, False)
    with pytest.raises(BlockingIOError):
        packet_socket.receive_sighted(shared, buffer)


def test_igmp_that_finds_the_queue_full_is_counted(pair: Pair) -> None:
    left = pair.left.run(packet_socket.open_igmp, links.index(pair.left, "left"), "left", True)
    right = pair.right.run(packet_socket.open_igmp, links.index(pair.right, "right"), "right", False)
    right.setblocking(False)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(40):
        left.send(ethernet(pair, ipv4("224.0.0.1", b"\x11\x64\xee\x9b\0\0\0\0", protocol=2)))
    heard = 0
    with contextlib.suppress(BlockingIOError):
        while right.recv(2000):
            heard += 1
    assert heard < 40
    assert (packet_socket.take_drops(right), packet_socket.take_drops(right)) == (40 - heard, 0)


def test_the_agent_is_told_how_many_found_its_queue_full(pair: Pair) -> None:
    left = pair.left.run(packet_socket.open_igmp, links.index(pair.left, "left"), "left", True)
    right = pair.right.run(packet_socket.open_igmp, links.index(pair.right, "right"), "right", False)
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    settings = InterfaceSettings(name="right")
    attachment = IgmpSocket(os.dup(right.fileno()), Port(0, 1, "right", "downstream", settings))
    query = ipv4("224.0.0.1", b"\x11\x64\xee\x9b\0\0\0\0", protocol=2)
    for _ in range(40):
        left.send(ethernet(pair, query))
    heard = 0
    while received := attachment.receive():
        assert received == (query, int.from_bytes(pair.mac("left")), 0x0100_5E01_0203, False)
        heard += 1
    assert 0 < heard < 40
    assert (attachment.lost(), attachment.lost()) == (40 - heard, 0)
    attachment.close()


def test_what_waits_in_a_queue_is_known_by_what_it_takes(pair: Pair) -> None:
    left = pair.left.run(packet_socket.open_igmp, links.index(pair.left, "left"), "left", True)
    right = pair.right.run(packet_socket.open_igmp, links.index(pair.right, "right"), "right", False)
    for sent in range(1, 41):
        left.send(ethernet(pair, ipv4("224.0.0.1", b"\x11\x64\xee\x9b\0\0\0\0", protocol=2)))
        assert sent <= packet_socket.most_waiting(right) <= 16 * sent
    for left_over in range(39, -1, -1):
        right.recv(100)
        assert left_over <= packet_socket.most_waiting(right) <= 16 * left_over


def test_full_ring_is_counted_as_drops(pair: Pair) -> None:
    layout = RingLayout(block_size=4096, block_nr=2)
    reader = Reader(pair.ring(layout), layout)
    messages, memory = two_sizes(pair, [1000] * 40)
    out = pair.transmit()
    assert messages.send(out.fileno()).sent == 40
    drops = packet_socket.take_drops(reader.sock)
    assert 0 < drops < 40
    assert len(reader.take(40, timeout=0.05)) == 40 - drops
    assert packet_socket.take_drops(reader.sock) == 0
    assert memory
    reader.close()


def test_successor_continues_where_the_ring_stands(pair: Pair) -> None:
    sock = pair.ring()
    first, sender = Reader(sock), pair.sender()
    for number in range(6):
        sender.sendto(b"%d" % number, (GROUP, PORT))
        assert [frame[42:] for _, frame in first.take(1)] == [b"%d" % number]
    sender.sendto(b"6", (GROUP, PORT))
    assert first.wait() is not None                       # lent, and never released: the reader dies here
    position = first.ring.position
    sender.sendto(b"7", (GROUP, PORT))
    second = Reader(sock)
    assert second.ring.position == position
    assert [frame[42:] for _, frame in second.take(2)] == [b"6", b"7"]
    assert Reader(sock).ring.position == second.ring.position


def test_link_loss_shows_once_as_a_pending_error(pair: Pair, reader: Reader) -> None:
    links.down(pair.right, "right")
    poll = select.poll()
    poll.register(reader.sock, select.POLLIN)
    assert poll.poll(2000)[0][1] & select.POLLERR
    assert packet_socket.take_error(reader.sock) == errno.ENETDOWN
    assert packet_socket.take_error(reader.sock) == 0
    links.up(pair.right, "right")
    links.wait_up(pair.right, "right")
    pair.sender().sendto(b"again", (GROUP, PORT))
    assert [frame[42:] for _, frame in reader.take(1)] == [b"again"]


def test_a_socket_whose_link_was_elsewhere_is_bound_to_none_though_the_link_is_back(pair: Pair) -> None:
    index = links.index(pair.left, "left")
    sock = pair.transmit()
    assert packet_socket.is_bound(sock)
    links.down(pair.left, "left")
    assert packet_socket.is_bound(sock)
    with Namespace("elsewhere") as elsewhere:
        links.configure(pair.left, "left", net_ns_fd=elsewhere.fd)
        links.configure(elsewhere, "left", net_ns_fd=pair.left.fd)
    assert links.index(pair.left, "left") == index
    assert not packet_socket.is_bound(sock)
    sock.close()


def test_links_without_ethernet_header_use_the_same_offsets_and_filters(pair: Pair) -> None:
    tun = make_tun(pair.right)
    links.up(pair.right, "tun0")
    index = links.index(pair.right, "tun0")
    reader = Reader(pair.right.run(packet_socket.open_receive_ring, index, "tun0", LAYOUT, False))
    os.write(tun, ipv4("223.0.0.9", udp(b"")))
    os.write(tun, ipv4(GROUP, udp(b"tun")))
    batch = reader.wait()
    assert batch is not None
    assert (batch.net - batch.frame).tolist() == (batch.mac - batch.frame).tolist() == [tpacket.NET]
    assert batch.snaplen.tolist() == [31]
    out = pair.right.run(packet_socket.open_transmit, index, "tun0")
    os.set_blocking(tun, False)
    drain(tun)
    assert send_frame(out.fileno(), VNET + ipv4(GROUP, udp(b"back"))) == 0
    assert os.read(tun, 2000) == ipv4(GROUP, udp(b"back"))
    del batch
    reader.close()
    os.close(tun)


def drain(fd: int) -> None:
    while True:
        try:
            os.read(fd, 2000)
        except BlockingIOError:
            return


def test_errors_name_the_operation_and_the_port(pair: Pair) -> None:
    with pytest.raises(PortError) as caught:
        pair.right.run(packet_socket.open_receive_ring, 4711, "gone0", LAYOUT, False)
    assert (caught.value.operation, caught.value.port) == ("PACKET_ADD_MEMBERSHIP", "gone0")
    assert str(caught.value) == "gone0: receive ring: PACKET_ADD_MEMBERSHIP: ENODEV, No such device"


def test_a_socket_that_failed_is_closed(pair: Pair) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for opener in (packet_socket.open_transmit, packet_socket.open_igmp):
        arguments = () if opener is packet_socket.open_transmit else (False,)
        with pytest.raises(PortError) as caught:
            pair.right.run(opener, 4711, "gone0", *arguments)
        assert caught.value.errno == errno.ENODEV
        assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(PortError, match="gone0: transmit socket: bind: ENODEV"):
        pair.right.run(packet_socket.open_transmit, 4711, "gone0")


def test_links_of_other_kinds_are_refused(pair: Pair) -> None:
    tun = make_tun(pair.right)
    TUNSETLINK = 0x400454CD     # noqa: N806
    fcntl.ioctl(tun, TUNSETLINK, 824)   # ARPHRD_NETLINK
    links.up(pair.right, "tun0")
    index = links.index(pair.right, "tun0")
    before = len(os.listdir("/proc/self/fd"))
    openers = (packet_socket.open_receive_ring, LAYOUT, False), (packet_socket.open_igmp, False)
    for opener, *rest in (*openers, (packet_socket.open_transmit,)):
        with pytest.raises(packet_socket.UnsupportedLink, match="link type 824"):
            pair.right.run(opener, index, "tun0", *rest)
        assert len(os.listdir("/proc/self/fd")) == before
    os.close(tun)


def make_tun(namespace: Namespace) -> int:
    try:
        return links.tun(namespace, "tun0")
    except OSError as error:
        pytest.skip(f"no tun device here: {error}")


def test_on_a_link_without_header_a_transmit_socket_says_ipv4_and_receives_nothing(pair: Pair) -> None:
    tun = make_tun(pair.right)
    links.up(pair.right, "tun0")
    out = pair.right.run(packet_socket.open_transmit, links.index(pair.right, "tun0"), "tun0")
    assert out.getsockname()[:2] == ("tun0", tpacket.ETH_P_IP)
    assert pair.transmit().getsockname()[:2] == ("left", 0)
    os.write(tun, ipv4(GROUP, udp(b"in")))
    with pytest.raises(BlockingIOError):
        out.recv(2000)
    os.close(tun)


@pytest.mark.parametrize("promiscuous", [False, True])
def test_all_multicast_is_asked_for_or_everything(pair: Pair, promiscuous: bool) -> None:
    index = links.index(pair.right, "right")
    openers = (packet_socket.open_receive_ring, LAYOUT), (packet_socket.open_igmp,)
    for opener, *rest in openers:
        with pair.right.run(opener, index, "right", *rest, promiscuous):
            assert links.attribute(pair.right, "right", "IFLA_PROMISCUITY") == int(promiscuous)
        assert links.attribute(pair.right, "right", "IFLA_PROMISCUITY") == 0


def buffer(sock: socket.socket, option: int) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, option) // 2  # the kernel doubles it for its own use


def test_buffers_are_as_large_as_we_may_make_them(pair: Pair) -> None:
    """Root of the machine goes beyond the sysctl, others up to it."""
    most = {name: int(Path(f"/proc/sys/net/core/{name}").read_text()) for name in ("rmem_max", "wmem_max")}
    index = links.index(pair.right, "right")
    slots = RingLayout(block_size=16 * 1024, block_nr=2, version=tpacket.TPACKET_V2)
    receiving = [(4 << 20, packet_socket.open_igmp), (8 << 20, packet_socket.open_receive_ring, slots)]
    for wanted, opener, *rest in receiving:
        with pair.right.run(opener, index, "right", *rest, False) as sock:
            assert buffer(sock, socket.SO_RCVBUF) == (wanted if is_root() else min(wanted, most["rmem_max"]))
    with pair.transmit() as sock:
        assert buffer(sock, socket.SO_SNDBUF) == (8 << 20 if is_root() else min(8 << 20, most["wmem_max"]))


def test_where_going_beyond_the_sysctl_is_refused_a_buffer_is_set_as_anybody_may() -> None:
    """A locked filter refuses to be unlocked as SO_SNDBUFFORCE is refused to whoever lacks the capability: EPERM."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, tpacket.SO_LOCK_FILTER, 1)
        packet_socket._raise_buffer(sock, tpacket.SO_LOCK_FILTER, socket.SO_SNDBUF, 0)
        assert buffer(sock, socket.SO_SNDBUF) < 5000    # the least there is


def test_only_a_ring_of_slots_queues_what_is_longer_than_its_slot(pair: Pair) -> None:
    for side, name in ((pair.left, "left"), (pair.right, "right")):
        links.configure(side, name, mtu=9000)
    slots = RingLayout(block_size=16 * 1024, block_nr=2, version=tpacket.TPACKET_V2)
    blocks = Reader(pair.ring())
    memory = packet_socket.map_ring(sock := pair.ring(slots), slots)
    pair.sender().sendto(b"x" * 5000, (GROUP, PORT))
    assert [len(frame) for _, frame in blocks.take(1)] == [5042]
    frame = sock.recv(9000)
    assert (len(frame), frame[:10], frame[-5000:]) == (5052, frame[:10], b"x" * 5000)
    fields = np.frombuffer(memory[:32], TPACKET2_HDR)[0]
    assert (fields["status"] & 3, fields["len"], fields["net"]) == (3, 5042, tpacket.NET_V2)
    with pytest.raises(BlockingIOError):
        blocks.sock.recv(9000)
    blocks.close()
    memory.close()
    sock.close()


def test_link_types_have_an_ethernet_header_or_none():
    assert [packet_socket.link_header_length(kind) for kind in (1, 772)] == [14, 14]
    assert {packet_socket.link_header_length(kind) for kind in (0xFFFE, 512, 519, 768, 778)} == {0}
    with pytest.raises(packet_socket.UnsupportedLink) as caught:
        packet_socket.link_header_length(801, "wlan0")  # ARPHRD_IEEE80211
    assert caught.value.arphrd == 801
