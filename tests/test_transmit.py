"""Messages sent through datagram sockets of this process: the kernel's sendmmsg, without any privilege."""

import errno
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.transmit import Messages, Sent, send_frame, strided

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

    def __init__(self, sizes: list[int], capacity: int | None = None) -> None:
        count = len(sizes)
        self.headers = np.zeros((count, 24), np.uint8)
        self.headers[:, 10:14].view(np.uint32)[:, 0] = np.arange(count)
        self.payload = np.arange(max(sizes, default=0) + 256, dtype=np.uint32).astype(np.uint8)
        self.messages = Messages(capacity or count)
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
