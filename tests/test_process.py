"""What crosses the control socket, and what a child may still do."""

import os
import socket
import subprocess
import sys

import pytest

from forwarder.process import control


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_descriptors_arrive_by_name(channel):
    ours, theirs = channel
    reading, writing = os.pipe()
    assert control.send(ours, {"type": "port", "port": 3}, {"ring": reading, "transmit": writing})
    message, descriptors = control.receive(theirs)
    assert message == {"type": "port", "port": 3}
    os.write(descriptors["transmit"], b"x")
    assert os.read(descriptors["ring"], 1) == b"x"
    for descriptor in (reading, writing, *descriptors.values()):
        os.close(descriptor)


def test_a_full_queue_is_said_not_waited_for(channel):
    ours, _ = channel
    for _ in range(100_000):
        if not control.send(ours, {"type": "filler"}):
            break
    else:
        pytest.fail("the queue never filled")


def test_the_end_of_the_other_side_is_none(channel):
    ours, theirs = channel
    ours.close()
    assert control.receive(theirs) is None


def test_an_end_with_messages_unread_is_none_too(channel):
    """A supervisor that dies has often just been told something."""
    ours, theirs = channel
    control.send(theirs, {"type": "ready"})
    ours.close()
    assert control.receive(theirs) is None


def test_a_child_keeps_no_capability():
    """Started as root or not, all five sets are empty after bootstrap's first steps."""
    code = ("from forwarder.process import privileges; privileges.keep_only(None); "
            "print([line.split()[1] for line in open('/proc/self/status') if line[:3] == 'Cap'][:3], "
            "[line.split()[1] for line in open('/proc/self/status') if line.startswith('CapAmb')])")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout) <= set("[]', 0\n")


def test_a_channel_with_a_high_number_gets_a_low_one():
    """A worker that is started beside a thousand sockets of the supervisor's waits by select(2) all the same."""
    code = ("import fcntl, os, resource, select, socket; from forwarder.process.child import lowest; "
            "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1])); "
            "ours, theirs = socket.socketpair(); high = fcntl.fcntl(theirs.detach(), fcntl.F_DUPFD, 1500); "
            "low = lowest(high); ours.send(b'x'); print(select.select([low], [], [], 5.0)[0] == [low], low < 100); "
            "os.fstat(low); os.set_inheritable(low, True); os.fstat(high)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "True True\n"
    assert "Bad file descriptor" in result.stderr       # the high one is closed
