"""rtnetlink messages as the kernel makes them."""

import struct

from forwarder.packet.rtnetlink import (
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_ALT_IFNAME,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_PROP_LIST,
    NLATTR,
    NLMSGHDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
)

UP = 0x1 | 0x40     # IFF_UP | IFF_RUNNING
NESTED = 0x8000     # NLA_F_NESTED
MAC = bytes.fromhex("020000000001")
IFLA_STATS64, IFA_LABEL = 23, 3


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return padded(NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, flags, 0, 0) + body)


def attribute(kind: int, value: bytes) -> bytes:
    return padded(NLATTR.pack(NLATTR.size + len(value), kind) + value)


def link_body(index: int, name: bytes, *alternatives: bytes, flags: int = UP, mac: bytes = MAC, mtu: int = 1500,
              kind: bytes | None = b"veth", master: tuple[int, bytes] | None = None) -> bytes:  # fmt: skip
    """`master`: its index, and its kind."""
    names = b"".join(attribute(IFLA_ALT_IFNAME, each + b"\0") for each in alternatives)
    info = attribute(IFLA_INFO_KIND, kind) if kind else b""
    info += attribute(IFLA_INFO_SLAVE_KIND, master[1] + b"\0") if master else b""
    return IFINFOMSG.pack(0, 1, index, flags, 0) + b"".join([
        attribute(IFLA_IFNAME, name + b"\0"),
        attribute(IFLA_MTU, struct.pack("=I", mtu)),
        attribute(IFLA_ADDRESS, mac),
        attribute(IFLA_STATS64, bytes(200)),
        attribute(IFLA_MASTER, struct.pack("=I", master[0])) if master else b"",
        attribute(IFLA_LINKINFO | NESTED, info) if info else b"",
        attribute(IFLA_PROP_LIST | NESTED, names) if alternatives else b"",
    ])


def address_body(index: int, local: int, prefix: int = 24, peer: int | None = None) -> bytes:
    far = local if peer is None else peer
    return IFADDRMSG.pack(2, prefix, 0, 0, index) + b"".join([
        attribute(IFA_ADDRESS, far.to_bytes(4)) if far else b"",
        attribute(IFA_LOCAL, local.to_bytes(4)) if local else b"",
        attribute(IFA_LABEL, b"label\0"),
    ])


def new_link(index: int, name: bytes, *alternatives: bytes) -> bytes:
    return message(RTM_NEWLINK, link_body(index, name, *alternatives))


def new_address(index: int, local: int = 0x0A000001) -> bytes:
    return message(RTM_NEWADDR, address_body(index, local))
