"""Messages sent through datagram sockets of this process: the kernel's sendmmsg, without any privilege."""

import ctypes
import errno
import os
import platform
import select
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane import transmit
from forwarder.dataplane.transmit import (
    CONGESTED,
    Messages,
    SendMessages,
    Sent,
    outcome,
    probe_gso,
    send_frame,
    sendmmsg,
    strided,
)
from igmp.checksum import checksum

HEADER = 14  # a vnet header and something to recognise


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for sock in (left, right):
        sock.setblocking(False)
    yield left, right
    left.close()
    right.close()


class Composed:
    """Messages of numbered headers and payloads of the given sizes, and the memory they point to."""

    def __init__(self, sizes: list[int], capacity: int | None = None, call: SendMessages = sendmmsg) -> None:
        count = len(sizes)
        self.headers = np.zeros((count, 24), np.uint8)
        self.headers[:, 10:14].view(np.uint32)[:, 0] = np.arange(count)
        self.payload = np.arange(max(sizes, default=0) + 256, dtype=np.uint32).astype(np.uint8)
        self.messages = Messages(capacity or count, call)
        self.expected = [
            self.headers[at, :HEADER].tobytes() + self.payload[at % 256 : at % 256 + size].tobytes()
            for at, size in enumerate(sizes)
        ]
        self.messages.fill(
            strided(self.headers.ctypes.data, 24, count),
            HEADER,
            self.payload.ctypes.data + np.arange(count, dtype=np.uint64) % 256,
            np.array(sizes, np.uint64),
        )


def received(sock: socket.socket) -> list[bytes]:
    datagrams = []
    while True:
        try:
            datagrams.append(sock.recv(1 << 17))
        except BlockingIOError:
            return datagrams


def test_a_message_is_its_header_and_its_payload(pair):
    composed = Composed([0, 1, 100])
    assert composed.messages.send(pair[0].fileno()) == Sent(3, 3 * (HEADER - 10) + 101, 0, 0)
    assert received(pair[1]) == composed.expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=8), st.data())
def test_selected_messages_go_out_in_the_order_asked_for(sizes: list[int], data: st.DataObject):
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    right.setblocking(False)
    composed = Composed(sizes, capacity=16)
    select = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=8))
    sent = composed.messages.send(left.fileno(), np.array(select, np.int64))
    assert received(right) == [composed.expected[at] for at in select]
    assert sent == Sent(len(select), sum(len(composed.expected[at]) - 10 for at in select), 0, 0)
    left.close()
    right.close()


def test_messages_can_be_filled_again_with_fewer(pair):
    composed = Composed([5, 6, 7])
    again = Composed([8])
    header, payload = strided(again.headers.ctypes.data, 24, 1), strided(again.payload.ctypes.data, 0, 1)
    composed.messages.fill(header, HEADER, payload, np.array([8], np.uint64))
    assert composed.messages.send(pair[0].fileno()).sent == 1
    assert received(pair[1]) == again.expected


def test_no_messages_is_nothing_to_do(pair):
    composed = Composed([5])
    assert composed.messages.send(pair[0].fileno(), np.array([], np.int64)) == Sent(0, 0, 0, 0)
    assert Messages(4).send(pair[0].fileno()) == Sent(0, 0, 0, 0)


def test_more_than_one_system_call_takes_them_all():
    receiver, sender = udp_pair()
    composed = Composed([4] * 3000)
    assert composed.messages.send(sender.fileno()).sent == 3000
    arrived = received(receiver)  # as many as the socket's buffer may hold here
    assert arrived == composed.expected[: len(arrived)] != []
    receiver.close()
    sender.close()


def udp_pair() -> tuple[socket.socket, socket.socket]:
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    sender.connect(receiver.getsockname())
    return receiver, sender


def test_a_message_that_is_too_long_costs_only_itself(pair):
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    composed = Composed([10, 60000, 60000, 10, 60000])
    assert composed.messages.send(pair[0].fileno()) == Sent(2, 28, 3, errno.EMSGSIZE)
    assert received(pair[1]) == [composed.expected[0], composed.expected[3]]


def test_a_full_socket_ends_the_batch(pair):
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    composed = Composed([1000] * 100)
    sent = composed.messages.send(pair[0].fileno())
    assert 0 < sent.sent < 100
    assert (sent.failed, sent.errno) == (100 - sent.sent, errno.EAGAIN)
    assert received(pair[1]) == composed.expected[: sent.sent]


def test_a_closed_descriptor_ends_the_batch():
    assert Composed([10] * 5).messages.send(-1) == Sent(0, 0, 5, errno.EBADF)


def test_one_frame_goes_out_whole_or_says_why_not(pair):
    assert send_frame(pair[0].fileno(), b"frame") == 0
    assert received(pair[1]) == [b"frame"]
    pair[1].close()
    assert send_frame(pair[0].fileno(), b"frame") in (errno.ECONNREFUSED, errno.ENOTCONN)


def test_strided_addresses_are_exact_beyond_the_reach_of_floats():
    base = (1 << 63) + 1
    assert [int(address) for address in strided(base, 56, 3)] == [base, base + 56, base + 112]


class Kernel:
    """Answers `sendmmsg` with what it was told to, errors as negative numbers; 0: as the real one does."""

    def __init__(self, *answers: int) -> None:
        self.answers, self.calls = list(answers), 0

    def __call__(self, fd: int, address: int, count: int, flags: int) -> int:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else 0
        if answer < 0:
            ctypes.set_errno(-answer)
            return -1
        return sendmmsg(fd, address, min(count, answer or count), flags)


def sent_by(kernel: Kernel, pair, count: int = 6) -> tuple[Sent, list[int]]:
    """What `count` messages of 5 octets come to, and the numbers of those that arrived."""
    composed = Composed([5] * count, call=kernel)
    return composed.messages.send(pair[0].fileno()), [composed.expected.index(each) for each in received(pair[1])]


@pytest.mark.parametrize("error", [errno.ENETDOWN, errno.ENXIO, errno.ENODEV])
def test_an_old_report_of_a_link_that_was_down_costs_no_message(pair, error):
    sent, arrived = sent_by(Kernel(-error), pair)
    assert (sent, arrived) == (Sent(6, 6 * (HEADER - 10 + 5), 0, error), [0, 1, 2, 3, 4, 5])


def test_such_a_report_in_the_middle_costs_none_either(pair):
    sent, arrived = sent_by(Kernel(2, -errno.ENETDOWN, 2, -errno.ENETDOWN), pair)
    assert (sent.sent, sent.failed, arrived) == (6, 0, [0, 1, 2, 3, 4, 5])


def test_a_link_that_is_down_ends_the_batch_at_the_second_report(pair):
    kernel = Kernel(2, -errno.ENETDOWN, -errno.ENETDOWN)
    sent, arrived = sent_by(kernel, pair)
    assert (sent.sent, sent.failed, sent.errno, arrived, kernel.calls) == (2, 4, errno.ENETDOWN, [0, 1], 3)


@pytest.mark.parametrize("error", [errno.EMSGSIZE, errno.EINVAL, errno.EPERM, errno.ENOBUFS])
def test_any_other_error_costs_the_one_message(pair, error):
    sent, arrived = sent_by(Kernel(1, -error, 1, -error), pair)
    assert (sent.sent, sent.failed, sent.errno, arrived) == (4, 2, error, [0, 2, 4, 5])


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EBADF, errno.ENOTSOCK, errno.EFAULT])
def test_what_cannot_be_better_with_the_next_message_ends_the_batch(pair, error):
    kernel = Kernel(1, -error)
    sent, arrived = sent_by(kernel, pair)
    assert (sent.sent, sent.failed, sent.errno, arrived, kernel.calls) == (1, 5, error, [0], 2)


def test_a_queue_that_stays_full_is_tried_so_often_and_no_more(pair):
    kernel = Kernel(*[-errno.ENOBUFS] * (CONGESTED - 1), 1, *[-errno.ENOBUFS] * (CONGESTED + 50))
    sent, arrived = sent_by(kernel, pair, 2 * CONGESTED + 30)
    assert (sent.sent, arrived, kernel.calls) == (1, [CONGESTED - 1], 2 * CONGESTED)


def test_a_probe_is_answered_by_what_the_kernel_says(pair):
    assert probe_gso(pair[0].fileno(), bytes(6), 0)
    with pytest.raises(OSError, match="descriptor"):
        probe_gso(-1, bytes(6), 0)
    descriptor = os.open(__file__, os.O_RDONLY | os.O_PATH)
    with pytest.raises(OSError, match="descriptor"):
        probe_gso(descriptor, bytes(6), 0)
    os.close(descriptor)
    with select.epoll() as poll:    # knows no write(2) and says EINVAL, as old kernels do of UDP segmentation
        assert not probe_gso(poll.fileno(), bytes(6), 0)


@pytest.mark.parametrize("segments", [1, 128])
def test_the_probe_is_a_datagram_of_nobody_to_nobody(pair, segments):
    mac, address = bytes.fromhex("02000000aa01"), 0x0A000001
    assert probe_gso(pair[0].fileno(), mac, address, segments)
    [frame] = received(pair[1])
    vnet, link, packet = struct.unpack("=BBHHHH", frame[:10]), frame[10:24], frame[24:]
    assert (vnet[:3], vnet[4:]) == ((1, 5, 42), (34, 6))
    assert (vnet[3], len(packet) - 28) == (1000 if segments == 1 else 1, segments)
    assert packet[:2] == b"\x45\0"
    assert link == mac + mac + b"\x08\x00"
    assert (checksum(packet[:20]), packet[8], packet[9]) == (0, 0, 17)
    assert packet[12:20] == address.to_bytes(4) * 2
    assert struct.unpack("!HHH", packet[20:26]) == (9, 9, len(packet) - 20)
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 17, len(packet) - 20)
    assert int.from_bytes(packet[26:28]) == 0xFFFF ^ checksum(pseudo)
    assert packet[2:4] == len(packet).to_bytes(2)
    assert packet[6:8] == b"\x40\x00"


def test_what_became_of_messages_in_the_middle_of_a_batch():
    pieces, size = np.array([1, 2, 4]), np.array([10, 20, 40])
    assert outcome([(3, 6)], 0, pieces, size, 3) == Sent(7, 70, 0, 0)
    assert outcome([(3, 4), (5, 6)], 11, pieces, size, 3) == Sent(5, 50, 2, 11)
    assert outcome([], 11, pieces, size, 3) == Sent(0, 0, 7, 11)


def test_without_glibc_the_kernel_is_called_by_number(pair, monkeypatch):
    """As on musl, whose sendmmsg is a loop."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    composed = Composed([5, 6, 7], call=transmit._system_call())
    assert composed.messages.send(pair[0].fileno()).sent == 3
    assert received(pair[1]) == composed.expected
    assert composed.messages.send(-1) == Sent(0, 0, 3, errno.EBADF)
