"""rtnetlink messages about links and IPv4 addresses: how they are asked for, and what they say. Pure.

Sources: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h; netlink(7), rtnetlink(7). Integers are in
host byte order, addresses in network byte order. Lengths come from outside and are checked: what does not fit raises
RtnetlinkError and nothing else, and every step of a walk is at least a header long.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

AF_UNSPEC, AF_INET = 0, 2
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x10, 0x300

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 4, 10, 18, 29
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND = 1, 4
IFA_ADDRESS, IFA_LOCAL = 1, 2
NLA_TYPE_MASK = 0x3FFF
_OF_LINK = frozenset((IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_PROP_LIST))
_OF_INFO, _OF_PROPERTIES = frozenset((IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND)), frozenset((IFLA_ALT_IFNAME,))
_OF_ADDRESS = frozenset((IFA_ADDRESS, IFA_LOCAL))
RTEXT_FILTER_SKIP_STATS = 8

NLMSGHDR = struct.Struct("=IHHII")
NLATTR = struct.Struct("=HH")
IFINFOMSG = struct.Struct("=BxHiII")
IFADDRMSG = struct.Struct("=BBBBI")
U32, S32, IPV4 = struct.Struct("=I"), struct.Struct("=i"), struct.Struct("!I")

LINKS = NLMSGHDR.pack(40, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + (
    NLATTR.pack(8, IFLA_EXT_MASK) + U32.pack(RTEXT_FILTER_SKIP_STATS)
)
"""Asks for all links, without their IPv6 counters: three quarters of the octets."""
ADDRESSES = NLMSGHDR.pack(24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + IFADDRMSG.pack(AF_INET, 0, 0, 0, 0)
"""Asks for all IPv4 addresses."""


class RtnetlinkError(ValueError):
    """What is no such message; the text says why."""


class Message(NamedTuple):
    """One message: its type, NLM_F_*, and what comes after its header."""

    type: int
    flags: int
    body: memoryview


class LinkMessage(NamedTuple):
    """RTM_NEWLINK or RTM_DELLINK: `link_type` is ARPHRD_*, `address` of any length; None is what was not said.

    `master` is the ifindex of the link that this one is a port of, `slave_kind` the kind of that link.
    """

    ifindex: int
    link_type: int
    flags: int
    name: bytes
    alternatives: tuple[bytes, ...]
    address: bytes
    mtu: int | None
    kind: bytes | None
    master: int | None = None
    slave_kind: bytes | None = None


class AddressMessage(NamedTuple):
    """RTM_NEWADDR or RTM_DELADDR: IFA_LOCAL, and IFA_ADDRESS, the other end's where that differs; 0 is not said."""

    ifindex: int
    prefix: int
    local: int
    address: int


class LinkNotice(NamedTuple):
    """A notification: the link it is about, and what that is called; an address does not say its link's name."""

    ifindex: int
    names: tuple[bytes, ...]


def messages(data: bytes) -> Iterator[Message]:
    """The messages of a datagram, one after the other."""
    view, at = memoryview(data), 0
    while at < len(view):
        length, kind, flags, _, _ = _unpack(NLMSGHDR, view, at)
        if not NLMSGHDR.size <= length <= len(view) - at:
            raise RtnetlinkError(f"a message of {length} octets where there are {len(view) - at}")
        yield Message(kind, flags, view[at + NLMSGHDR.size : at + length])
        at += length + 3 & ~3


def attributes(data: memoryview, wanted: frozenset[int]) -> list[tuple[int, memoryview]]:
    """Types and values of those attributes that are of a wanted type, in their order.

    A link has forty, of which we want six: one call for all takes half the time of a generator that a caller asks.
    """
    unpack, size, at = NLATTR.unpack_from, len(data), 0
    found = []
    while at < size:
        if size - at < NLATTR.size:
            raise RtnetlinkError(f"{size - at} octets where an attribute should be")
        length, kind = unpack(data, at)
        if not NLATTR.size <= length <= size - at:
            raise RtnetlinkError(f"an attribute of {length} octets where there are {size - at}")
        kind &= NLA_TYPE_MASK
        if kind in wanted:
            found.append((kind, data[at + NLATTR.size : at + length]))
        at += length + 3 & ~3
    return found


def link_message(body: memoryview) -> LinkMessage:
    """What is said of a link."""
    _, link_type, ifindex, flags, _ = _unpack(IFINFOMSG, body)
    said = dict(attributes(body[IFINFOMSG.size :], _OF_LINK))
    info = dict(attributes(said[IFLA_LINKINFO], _OF_INFO)) if IFLA_LINKINFO in said else {}
    names = attributes(said[IFLA_PROP_LIST], _OF_PROPERTIES) if IFLA_PROP_LIST in said else []
    return LinkMessage(
        ifindex, link_type, flags,
        name=_text(said.get(IFLA_IFNAME, b"")),
        alternatives=tuple(_text(value) for _, value in names),
        address=bytes(said.get(IFLA_ADDRESS, b"")),
        mtu=_unpack(U32, said[IFLA_MTU])[0] if IFLA_MTU in said else None,
        kind=_text(info[IFLA_INFO_KIND]) if IFLA_INFO_KIND in info else None,
        master=_unpack(U32, said[IFLA_MASTER])[0] if IFLA_MASTER in said else None,
        slave_kind=_text(info[IFLA_INFO_SLAVE_KIND]) if IFLA_INFO_SLAVE_KIND in info else None,
    )  # fmt: skip


def address_message(body: memoryview) -> AddressMessage:
    """What is said of an IPv4 address."""
    _, prefix, _, _, ifindex = _unpack(IFADDRMSG, body)
    said = dict(attributes(body[IFADDRMSG.size :], _OF_ADDRESS))
    local, address = (_unpack(IPV4, said[kind])[0] if kind in said else 0 for kind in (IFA_LOCAL, IFA_ADDRESS))
    return AddressMessage(ifindex, prefix, local, address)


def notices(data: bytes) -> Iterator[LinkNotice]:
    """What a datagram of the groups of links and IPv4 addresses is about."""
    for message in messages(data):
        if message.type in (RTM_NEWLINK, RTM_DELLINK):
            link = link_message(message.body)
            yield LinkNotice(link.ifindex, (link.name, *link.alternatives))
        elif message.type in (RTM_NEWADDR, RTM_DELADDR):
            yield LinkNotice(_unpack(IFADDRMSG, message.body)[4], ())
        else:
            raise RtnetlinkError(f"a message of type {message.type}")


def failure(message: Message) -> int:
    """The errno that NLMSG_DONE ends a dump with, or NLMSG_ERROR refuses it with; 0 when it was given whole."""
    return -_unpack(S32, message.body)[0]


def _unpack(layout: struct.Struct, data: memoryview, at: int = 0) -> tuple[int, ...]:
    if len(data) - at < layout.size:
        raise RtnetlinkError(f"{len(data) - at} octets where there should be {layout.size}")
    return layout.unpack_from(data, at)


def _text(value: memoryview | bytes) -> bytes:
    """A text that ends with a zero, without it."""
    return bytes(value).partition(b"\0")[0]
