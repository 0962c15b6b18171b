"""Links are asked for and heard of over sockets whose other end the test holds: what is believed and asked again."""

import errno
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from netlink_messages import UP, address_body, link_body, message, new_address, new_link
from test_assignment import link

from forwarder.packet.rtnetlink import (
    ADDRESSES,
    LINKS,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    LinkNotice,
)
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.assignment import Entries
from forwarder.supervisor.link_watch import DUMPS, RINGS, LinkWatch, current_links
from forwarder.supervisor.links import KernelLink
from forwarder.supervisor.looks import Concern

DONE = message(NLMSG_DONE, bytes(4))
ETH0 = link("eth0", 2, kind="veth", addresses=((0x0A000001, 24),))


def test_the_supervisor_does_without_a_library_that_decodes_everything():
    """It would be a third of its memory."""
    program = "import sys, forwarder.supervisor; print('pyroute2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# asking


class Kernel:
    """Opens sockets on which an answer waits already: datagrams for the links, and for the addresses."""

    def __init__(self, stack: ExitStack, *answers: list[bytes]) -> None:
        self._stack, self._answers = stack, list(answers)
        self.opened: list[socket.socket] = []

    def __call__(self) -> socket.socket:
        ours, theirs = (self._stack.enter_context(each) for each in socket.socketpair(type=socket.SOCK_SEQPACKET))
        for datagram in self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]:
            theirs.send(datagram)
        self.opened.append(theirs)
        ours.settimeout(0.05)
        return ours

    def asked(self) -> list[bytes]:
        return [self.opened[-1].recv(100) for _ in (LINKS, ADDRESSES)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def interrupted(kind: int, body: bytes) -> bytes:
    return message(kind, body, NLM_F_DUMP_INTR)


def test_links_and_addresses_are_asked_for_and_put_together(stack):
    lo = message(RTM_NEWLINK, link_body(1, b"lo", flags=0x8 | UP, mac=bytes(6), mtu=65536, kind=None))
    tunnel = message(RTM_NEWLINK, link_body(5, b"odd\xff", flags=0x1, mac=bytes(4), kind=b"ipip"))
    addresses = [(2, 0x0A000001, 24, None), (5, 0x0A090001, 24, 0x0A090002), (5, 0, 0, None), (5, 0x0B000001, 8, 0)]
    told = [message(RTM_NEWADDR, address_body(*each)) for each in addresses]
    kernel = Kernel(stack, [lo + new_link(2, b"eth0"), tunnel + DONE, told[0] + told[1], b"".join(told[2:]), DONE])
    lo_link = link("lo", 1, loopback=True, mac="00:00:00:00:00:00", mtu=65536, addresses=())
    odd = link("odd\\xff", 5, up=False, mac="00:00:00:00:00:00", kind="ipip",
               addresses=((0x0A090001, 32), (0x0B000001, 32)), peers=(0x0A090002,))  # fmt: skip
    assert current_links(kernel) == {"lo": lo_link, "eth0": ETH0, "odd\\xff": odd}
    assert kernel.asked() == [LINKS, ADDRESSES]


def test_what_is_said_of_links_only_is_enough(stack):
    bare = message(RTM_NEWLINK, struct.pack("=BxHiII", 0, 1, 3, UP, 0))
    kernel = Kernel(stack, [bare + DONE, DONE])
    assert current_links(kernel) == {"": link("", 3, mac="00:00:00:00:00:00", addresses=())}


@pytest.mark.parametrize("first", [
    [interrupted(RTM_NEWLINK, link_body(9, b"gone")), DONE, DONE],
    [new_link(9, b"gone"), interrupted(NLMSG_DONE, bytes(4)), DONE],
    [new_link(9, b"gone"), DONE, interrupted(RTM_NEWADDR, address_body(9, 1)) + new_address(9), DONE],
])  # fmt: skip
def test_what_changed_meanwhile_is_asked_for_again(stack, first):
    kernel = Kernel(stack, first, [new_link(2, b"eth0") + DONE, new_address(2), DONE])
    assert current_links(kernel) == {"eth0": ETH0}
    assert len(kernel.opened) == 2


def test_links_that_are_never_still_are_given_up(stack):
    kernel = Kernel(stack, [interrupted(NLMSG_DONE, bytes(4)), DONE])
    with pytest.raises(OSError, match="links changed during each of") as caught:
        current_links(kernel)
    assert (caught.value.errno, len(kernel.opened)) == (errno.EAGAIN, DUMPS)


@pytest.mark.parametrize(("answer", "number"), [
    ([message(NLMSG_ERROR, struct.pack("=i", -errno.EBUSY) + bytes(16))], errno.EBUSY),
    ([new_link(2, b"eth0"), message(NLMSG_DONE, struct.pack("=i", -errno.EMSGSIZE))], errno.EMSGSIZE),
    ([new_link(2, b"eth0")[:-8]], errno.EBADMSG),
    ([message(RTM_NEWLINK, link_body(2, b"eth0")[:40]) + DONE, DONE], errno.EBADMSG),
    ([message(NLMSG_DONE, b"")], errno.EBADMSG),
])  # fmt: skip
def test_an_answer_that_is_none_is_an_error_of_the_system(stack, answer, number):
    with pytest.raises(OSError) as caught:
        current_links(Kernel(stack, answer))
    assert caught.value.errno == number


def test_a_kernel_that_does_not_answer_is_not_waited_for_for_ever(stack):
    with pytest.raises(TimeoutError):
        current_links(Kernel(stack, [new_link(2, b"eth0")]))


def test_no_socket_to_ask_by_is_an_error_too():
    def refuse() -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many open files"):
        current_links(refuse)


# hearing


class Bell:
    """Datagrams, and errors, that `recv` gives one after the other."""

    def __init__(self, *told: bytes | OSError) -> None:
        self.told = list(told)

    def recv(self, size: int) -> bytes:
        if not self.told:
            raise BlockingIOError
        each = self.told.pop(0)
        if isinstance(each, OSError):
            raise each
        return each[:size]


class Watch(LinkWatch):
    """One that looked at eth0 and docker0; `dumps` are counted."""

    def __init__(self, *told: bytes | OSError) -> None:
        super().__init__(Bell(*told), self._read_and_count)
        self.dumps = 0
        entries = Entries(Settings(interface=(InterfaceSettings(name="eth0"), InterfaceSettings(name="tap*"))))
        self.concerns = Concern(entries, [ETH0, link("docker0", 3)]).concerns

    def _read_and_count(self) -> dict[str, KernelLink]:
        self.dumps += 1
        return {"eth0": ETH0}


OTHERS = [new_link(3, b"docker0"), new_address(3), new_link(9, b"veth1") + new_address(9),
          message(RTM_DELLINK, link_body(9, b"veth1"))]  # fmt: skip
OVERRUN = OSError(errno.ENOBUFS, "No buffer space available")


def test_links_that_do_not_matter_are_heard_without_a_look():
    watch = Watch(*OTHERS * 50)
    assert not watch.rang()
    assert not watch.rang()
    assert watch.dumps == 0


@pytest.mark.parametrize("told", [
    new_link(2, b"eth0"), new_link(2, b"away0"), message(RTM_DELLINK, link_body(2, b"eth0")), new_address(2),
    new_link(8, b"eth0"), new_link(8, b"tap1"), new_link(8, b"veth1", b"tap1"),
    new_link(8, b"veth1") + new_link(3, b"tap3"),
    new_link(8, b"veth1")[:-4], b"\0", message(77, b""), OVERRUN,
])  # fmt: skip
def test_what_may_matter_rings_among_all_others(told):
    watch = Watch(*OTHERS, told, *OTHERS)
    assert watch.rang()
    assert not watch.rang()


def test_before_anybody_says_what_matters_everything_does():
    assert LinkWatch(Bell(OTHERS[0])).rang()
    assert not LinkWatch(Bell()).rang()


def test_a_storm_leaves_others_their_turn():
    watch = Watch(*[OTHERS[0]] * RINGS, new_address(2))
    assert [watch.rang() for _ in range(3)] == [False, True, False]


def test_what_else_the_system_says_is_not_ours_to_understand():
    with pytest.raises(OSError, match="no memory"):
        Watch(new_link(2, b"eth0"), OSError(errno.ENOMEM, "no memory")).rang()


def test_overruns_without_end_do_not_hold_us():
    watch = Watch(*[OVERRUN] * (RINGS + 5))
    assert [watch.rang() for _ in range(3)] == [True, True, False]


def test_the_picture_is_old_once_something_was_ignored_and_new_after_a_look():
    watch = Watch(*OTHERS)
    assert not watch.ignored
    watch.rang()
    assert watch.ignored
    watch.snapshot()
    assert not watch.ignored


def test_what_matters_may_change():
    watch = Watch(new_link(8, b"veth1"))
    watch.concerns = lambda notice: notice == LinkNotice(8, (b"veth1",))
    assert watch.rang()
    assert watch.snapshot() == {"eth0": ETH0}
    assert watch.dumps == 1
