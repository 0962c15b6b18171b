"""What of links only the doctor wants to know: what they are made of, bridges' snooping, and filters of tc. Netlink.

linux/if_link.h, linux/if_bridge.h, linux/rtnetlink.h, linux/pkt_sched.h.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from forwarder.diagnosis.doctor.facts import SnoopingBridge
from forwarder.packet.rtnetlink import (
    IFINFOMSG,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    LINKS,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSGHDR,
    U32,
    RtnetlinkError,
    attributes,
)
from forwarder.supervisor.link_watch import said_in_answer
from forwarder.supervisor.links import IFF_UP, printable

IFLA_LINK, IFLA_LINK_NETNSID, IFLA_INFO_DATA = 5, 37, 2
IFLA_BR_MCAST_SNOOPING, IFLA_BR_MCAST_QUERIER, IFLA_BR_MCAST_QUERIER_STATE = 23, 25, 47
BRIDGE_QUERIER_IP_ADDRESS = 1
IFLA_MACVLAN_MODE = 1
MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
RTM_GETQDISC, RTM_GETTFILTER = 38, 46
TCMSG = struct.Struct("=BxxxiIII")      # family, ifindex, handle, parent, info
TCA_KIND = 1
WAYS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}    # TC_H_CLSACT and TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
DEEPEST = 8             # links on links


@dataclass(frozen=True, slots=True)
class LinkDetails:
    """`lower` is the ifindex of the link below, of veth its peer, where that is in this namespace; 0 otherwise."""

    name: str
    ifindex: int
    admin_up: bool
    kind: str
    lower: int
    master: int
    mode: str = ""
    bridge: SnoopingBridge | None = None


Details = Mapping[int, LinkDetails]


def details() -> dict[int, LinkDetails]:
    """Of all links by ifindex; none of those that the kernel does not describe. OSError."""
    found = {}
    for body in said_in_answer(LINKS):
        with suppress(RtnetlinkError, struct.error):
            each = parsed(body)
            found[each.ifindex] = each
    return found


def parsed(body: memoryview) -> LinkDetails:
    """What RTM_NEWLINK says; RtnetlinkError, struct.error."""
    _, _, ifindex, flags, _ = IFINFOMSG.unpack_from(body)
    wanted = frozenset((IFLA_IFNAME, IFLA_LINK, IFLA_LINK_NETNSID, IFLA_MASTER, IFLA_LINKINFO))
    said = dict(attributes(body[IFINFOMSG.size :], wanted))
    info = dict(attributes(said.get(IFLA_LINKINFO, body[:0]), frozenset((IFLA_INFO_KIND, IFLA_INFO_DATA))))
    name = printable(bytes(said.get(IFLA_IFNAME, b"")).partition(b"\0")[0])
    kind = bytes(info.get(IFLA_INFO_KIND, b"")).partition(b"\0")[0].decode(errors="replace")
    data = info.get(IFLA_INFO_DATA, body[:0])
    here = IFLA_LINK in said and IFLA_LINK_NETNSID not in said
    return LinkDetails(
        name, ifindex, bool(flags & IFF_UP), kind, _u32(said[IFLA_LINK]) if here else 0,
        _u32(said[IFLA_MASTER]) if IFLA_MASTER in said else 0,
        mode=_mode(data) if kind == "macvlan" else "", bridge=_bridge(name, data) if kind == "bridge" else None,
    )  # fmt: skip


def bridges_on_path(ifindex: int, known: Details) -> tuple[SnoopingBridge, ...]:
    """The bridge that a link is, that it lies on, or that the other end of a veth pair is a port of."""
    for _ in range(DEEPEST):
        if (link := known.get(ifindex)) is None:
            return ()
        if link.bridge:
            return (link.bridge,)
        if link.kind == "veth":
            peer = known.get(link.lower)
            above = known.get(peer.master) if peer else None
            return (above.bridge,) if above and above.bridge else ()
        ifindex = link.lower
    return ()


def peer_of(ifindex: int, known: Details) -> str:
    """The other end of a veth pair in this namespace, that is no port of anything; empty for none."""
    link = known.get(ifindex)
    peer = known.get(link.lower) if link and link.kind == "veth" else None
    return peer.name if peer and not peer.master else ""


def macvlans(known: Details) -> dict[int, tuple[str, ...]]:
    """Names of the macvlans on each link that has some."""
    found: dict[int, tuple[str, ...]] = {}
    for link in known.values():
        if link.kind in ("macvlan", "macvtap") and link.lower:
            found[link.lower] = (*found.get(link.lower, ()), link.name)
    return found


def traffic_filters(interfaces: Iterable[int]) -> dict[int, tuple[tuple[str, int, str], ...]]:
    """(ingress or egress, preference, kind) of the filters of tc on each of these links that has some. OSError."""
    wanted = set(interfaces)
    found: dict[int, tuple[tuple[str, int, str], ...]] = {}
    for ifindex, kind, _ in _traffic(RTM_GETQDISC, 0, 0):
        if ifindex in wanted and kind in ("clsact", "ingress") and ifindex not in found:
            found[ifindex] = tuple(dict.fromkeys(_filters(ifindex)))
    return {ifindex: filters for ifindex, filters in found.items() if filters}


def _filters(ifindex: int) -> Iterator[tuple[str, int, str]]:
    for way, parent in WAYS.items():
        with suppress(OSError):     # of ingress alone there is no other way
            for index, kind, info in _traffic(RTM_GETTFILTER, ifindex, parent):
                if index == ifindex:
                    yield way, info >> 16, kind


def _traffic(request: int, ifindex: int, parent: int) -> Iterator[tuple[int, str, int]]:
    """(ifindex, kind, info) of what a dump says."""
    size = NLMSGHDR.size + TCMSG.size
    asked = NLMSGHDR.pack(size, request, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + TCMSG.pack(0, ifindex, 0, parent, 0)
    for body in said_in_answer(asked):
        with suppress(RtnetlinkError, struct.error):
            _, index, _, _, info = TCMSG.unpack_from(body)
            said = dict(attributes(body[TCMSG.size :], frozenset((TCA_KIND,))))
            yield index, printable(bytes(said.get(TCA_KIND, b"")).partition(b"\0")[0]), info


def _bridge(name: str, data: memoryview) -> SnoopingBridge:
    wanted = frozenset((IFLA_BR_MCAST_SNOOPING, IFLA_BR_MCAST_QUERIER, IFLA_BR_MCAST_QUERIER_STATE))
    said = dict(attributes(data, wanted))
    state = dict(attributes(said.get(IFLA_BR_MCAST_QUERIER_STATE, data[:0]), frozenset((BRIDGE_QUERIER_IP_ADDRESS,))))
    snooping, querier = (_flag(said, each) for each in (IFLA_BR_MCAST_SNOOPING, IFLA_BR_MCAST_QUERIER))
    return SnoopingBridge(name, snooping, querier, heard=BRIDGE_QUERIER_IP_ADDRESS in state)


def _flag(said: Mapping[int, memoryview], kind: int) -> bool:
    return any(bytes(said.get(kind, b"")))


def _mode(data: memoryview) -> str:
    said = dict(attributes(data, frozenset((IFLA_MACVLAN_MODE,))))
    return MODES.get(_u32(said[IFLA_MACVLAN_MODE]), "") if IFLA_MACVLAN_MODE in said else ""


def _u32(value: memoryview) -> int:
    return int(U32.unpack_from(value)[0])
