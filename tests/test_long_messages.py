import json
import os
import socket
from collections.abc import Iterator

import pytest

from forwarder.process import control, long_messages
from forwarder.process.control import MAX_MESSAGE, MessageError
from forwarder.process.long_messages import LARGEST, whole


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory(octets: bytes) -> int:
    descriptor = os.memfd_create("test")
    os.write(descriptor, octets)
    return descriptor


def test_a_message_of_any_length_arrives_whole(pair):
    ours, theirs = pair
    before = descriptors()
    for text in ("", "é" * MAX_MESSAGE):
        assert long_messages.send(ours, {"type": "batch", "text": text})
        assert whole(*control.receive(theirs)) == {"type": "batch", "text": text}
    assert descriptors() == before


def test_a_short_message_is_what_it_was(pair):
    ours, theirs = pair
    control.send(ours, {"type": "reload"})
    assert whole(*control.receive(theirs)) == {"type": "reload"}


def test_what_is_too_long_is_not_sent(pair):
    with pytest.raises(MessageError):
        long_messages.send(pair[0], {"text": "x" * LARGEST})


def test_who_does_not_read_gets_nothing_more(pair):
    before = descriptors()
    while long_messages.send(pair[0], {}):
        pass
    pair[1].close()
    pair[1].detach()
    assert descriptors() < before + 200     # those on their way are the kernel's


@pytest.mark.parametrize("octets", [b"", b"[1]", b"{", b"\xff", b'{"a": 1', b"[" * 100_000])
def test_what_is_no_message_is_refused_and_let_go(octets):
    before = descriptors()
    with pytest.raises(MessageError):
        whole({}, {"message": memory(octets)})
    assert descriptors() == before


def test_what_cannot_be_read_at_once_is_not_waited_for():
    reading, writing = os.pipe()
    with pytest.raises(MessageError):
        whole({}, {"message": reading})
    os.close(writing)
    large = os.memfd_create("test")
    os.ftruncate(large, LARGEST + 1)
    with pytest.raises(MessageError):
        whole({}, {"message": large})


def test_other_descriptors_are_closed():
    before = descriptors()
    assert whole({"type": "x"}, {"other": memory(json.dumps({}).encode())}) == {"type": "x"}
    assert descriptors() == before
