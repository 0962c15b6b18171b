"""Interfaces as the kernel has them at one moment: what a link is to us, and how that follows from rtnetlink messages.

Pure; `link_watch` asks and listens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from forwarder.packet.packet_socket import UnsupportedLink, link_header_length
from forwarder.packet.rtnetlink import AddressMessage, LinkMessage

IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40
NO_MAC = bytes(6)
TAKING = {"bridge": "the bridge", "bond": "the bond", "team": "the team", "openvswitch": "Open vSwitch"}
"""Kinds of masters that take what comes in by their ports (rx_handler); a VRF leaves it to them."""


class Master(NamedTuple):
    """A link that has ports; `kind` is one of TAKING."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class KernelLink:
    """One interface; `up` means administratively up with carrier, `kind` is rtnetlink's IFLA_INFO_KIND.

    `master`: the link that takes what comes in by this one, its port, if there is one.
    """

    name: str
    ifindex: int
    up: bool
    mac: str
    mtu: int
    link_type: int
    loopback: bool
    kind: str | None
    addresses: tuple[tuple[int, int], ...]
    peers: tuple[int, ...]
    master: Master | None = None


def links_of(links: Iterable[LinkMessage], addresses: Iterable[AddressMessage]) -> dict[str, KernelLink]:
    """All interfaces by name, of what two dumps say."""
    by_index: dict[int, list[AddressMessage]] = {}
    for each in addresses:
        if each.local or each.address:      # neither is said of 0.0.0.0, which is none
            by_index.setdefault(each.ifindex, []).append(each)
    said = list(links)
    names = {each.ifindex: printable(each.name) for each in said}
    found = (_link(each, by_index.get(each.ifindex, []), names) for each in said)
    return {link.name: link for link in found}


def obstacle(link: KernelLink) -> str | None:
    """Why mcfwd can never use this interface, in words; None when it can."""
    if link.loopback:
        return f"{link.name} is a loopback interface, which carries no multicast between networks"
    try:
        link_header_length(link.link_type, link.name)
    except UnsupportedLink:
        return f"{link.name} has link type {link.link_type}, which is neither Ethernet nor plain IP"
    return None


def enslaved(link: KernelLink) -> str | None:
    """Why nothing is heard on this interface although it is up, in words, and which one to name; None when it hears.

    Frames that come in by a port belong to its master before any socket of ETH_P_IP sees them. The master of a port of
    Open vSwitch is its datapath, which has nothing to say: what hears is the internal interface of a bridge.
    """
    if link.master is None:
        return None
    master, kind = link.master
    what = f"{link.name} is a port of {TAKING[kind]}"
    if kind == "openvswitch":
        return f"{what}, which takes what comes in: name its bridge instead (ovs-vsctl port-to-br {link.name})"
    return f"{what} {master}, which takes what comes in: name {master} instead"


def printable(name: bytes | str) -> str:
    """The name of a link as it can be shown and sent: what is no UTF-8 or cannot be printed is escaped.

    The kernel takes any octets but white space, `/` and `:`. Links are found by their index, so the name need not be
    what the kernel calls it.
    """
    text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _link(said: LinkMessage, addresses: list[AddressMessage], names: Mapping[int, str]) -> KernelLink:
    mac = said.address if len(said.address) == len(NO_MAC) else NO_MAC     # tunnels have an IPv4 address there, or none
    return KernelLink(
        name=printable(said.name),
        ifindex=said.ifindex,
        up=bool(said.flags & IFF_UP and said.flags & IFF_RUNNING),
        mac=mac.hex(":"),
        mtu=said.mtu or 1500,
        link_type=said.link_type,
        loopback=bool(said.flags & IFF_LOOPBACK),
        kind=None if said.kind is None else printable(said.kind),
        addresses=tuple(_network(each) for each in addresses),
        peers=tuple(each.address for each in addresses if _has_peer(each) and each.address),
        master=_master(said, names),
    )


def _master(said: LinkMessage, names: Mapping[int, str]) -> Master | None:
    kind = (said.slave_kind or b"").decode(errors="replace")
    if said.master is None or kind not in TAKING:
        return None
    return Master(names.get(said.master, f"of index {said.master}"), kind)


def _network(said: AddressMessage) -> tuple[int, int]:
    """Our address and how many of its bits are on the link: all of them where there is a peer instead."""
    return said.local or said.address, 32 if _has_peer(said) else said.prefix


def _has_peer(said: AddressMessage) -> bool:
    """IFA_ADDRESS is the other end of a point-to-point link, where it differs from IFA_LOCAL (linux/if_addr.h)."""
    return said.local not in (0, said.address)
