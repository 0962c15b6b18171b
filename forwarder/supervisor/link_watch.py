"""Links, asked for and listened to by netlink: two dumps are the picture, notifications only a bell.

What rings is a notification that may matter, which its raw message tells. Whatever it says, the whole picture is then
read again, so there is one way to learn of a link, and a lost notification (ENOBUFS) costs a look and nothing else.
Raw messages are walked over: a library that decodes all there is to say of 400 links took 13 times as long.
rtnetlink(7).
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from forwarder.packet.rtnetlink import (
    ADDRESSES,
    LINKS,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    LinkNotice,
    RtnetlinkError,
    address_message,
    failure,
    link_message,
    messages,
    notices,
)
from forwarder.supervisor.links import KernelLink, links_of

NETLINK_ROUTE = 0
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
DATAGRAM = 1 << 16
"""Octets; the kernel puts at most half of that into one."""
DATAGRAMS = 1 << 16
"""At most, of one dump; each says something of a link at least."""
DUMPS = 100
"""At most, for a picture of one moment."""
RINGS = 1000
"""Notifications that are read before others have their turn."""
ANSWER_TIME = 5.0
"""Seconds; the kernel has the answer at once."""

Open: TypeAlias = Callable[[], socket.socket]


def open_netlink() -> socket.socket:
    """A socket to ask the kernel by; OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    opened.settimeout(ANSWER_TIME)
    return opened


def open_bell() -> socket.socket:
    """A socket that hears of links and their IPv4 addresses; OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE)
    opened.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))
    return opened


def current_links(open_socket: Open = open_netlink) -> dict[str, KernelLink]:
    """All interfaces of this network namespace by name, as of one moment; OSError, also when they are never still.

    Each attempt has a socket of its own: nothing that one left unread is taken for an answer to the next.
    """
    for _ in range(DUMPS):
        try:
            with open_socket() as asking:
                links, addresses = _dump(asking, LINKS), _dump(asking, ADDRESSES)
            return links_of(map(link_message, links), map(address_message, addresses))
        except _InterruptedError:
            continue
        except RtnetlinkError as error:
            raise OSError(errno.EBADMSG, f"what the kernel says of links is not understood: {error}") from error
    raise OSError(errno.EAGAIN, f"links changed during each of {DUMPS} looks at them")


def said_in_answer(request: bytes, open_socket: Open = open_netlink) -> list[memoryview]:
    """The bodies of the messages of a dump, as of one moment where that can be had; OSError."""
    for _ in range(DUMPS):
        try:
            with open_socket() as asking:
                return _dump(asking, request)
        except _InterruptedError:
            continue
        except RtnetlinkError as error:
            raise OSError(errno.EBADMSG, f"what the kernel says is not understood: {error}") from error
    raise OSError(errno.EAGAIN, f"what was asked for changed during each of {DUMPS} looks at it")


class LinkWatch:
    """The bell and the picture; `concerns`: whether a notification may matter, which all do until told otherwise.

    `ignored`: whether the picture is old, as far as we were told of what did not matter.
    """

    concerns: Callable[[LinkNotice], bool]
    ignored: bool

    def __init__(self, bell: socket.socket, read: Callable[[], dict[str, KernelLink]] = current_links) -> None:
        """`bell`: of `open_bell`."""
        self._bell, self._read = bell, read
        self.concerns = lambda notice: True
        self.ignored = False

    def fileno(self) -> int:
        """Readable when something about links or addresses changed."""
        return self._bell.fileno()

    def rang(self) -> bool:
        """Read the notifications there are: whether any of them may matter, as those may that were lost; OSError."""
        matters = False
        for _ in range(RINGS):
            try:
                datagram = self._bell.recv(DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                matters = True      # an overrun: there was more to say than fits
            else:
                matters, self.ignored = matters or self._matters(datagram), True
        return matters

    def snapshot(self) -> dict[str, KernelLink]:
        """All interfaces by name, as of one moment; OSError."""
        links = self._read()
        self.ignored = False
        return links

    def _matters(self, datagram: bytes) -> bool:
        try:
            return any(self.concerns(notice) for notice in notices(datagram))
        except RtnetlinkError:      # nor do we know that it does not
            return True


class _InterruptedError(Exception):
    """Something changed during a dump, so it may lack what was there all the time (NLM_F_DUMP_INTR)."""


def _dump(asking: socket.socket, request: bytes) -> list[memoryview]:
    """What the kernel says when asked for all, message by message; OSError, RtnetlinkError, _InterruptedError."""
    asking.send(request)
    said: list[memoryview] = []
    interrupted = False
    for _ in range(DATAGRAMS):
        for message in messages(asking.recv(DATAGRAM)):
            interrupted = interrupted or bool(message.flags & NLM_F_DUMP_INTR)
            if message.type in (NLMSG_DONE, NLMSG_ERROR):
                if number := failure(message):
                    raise OSError(number, os.strerror(number))
                if interrupted:
                    raise _InterruptedError
                return said
            said.append(message.body)
    raise OSError(errno.EMSGSIZE, f"more than {DATAGRAMS} datagrams of links")
