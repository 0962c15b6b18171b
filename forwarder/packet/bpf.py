"""Classic BPF filters for packet sockets, as lists of sock_filter.

Loads are relative to the network header (SKF_NET_OFF), so that one program serves links with and without link
header. A program returns how many bytes to keep: ALL or 0. Source: linux/filter.h, linux/bpf_common.h.
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from forwarder.packet.tpacket import ETH_P_IP, PACKET_OTHERHOST, PACKET_OUTGOING, SOCK_FILTER, SOCK_FPROG

LD_W_ABS = 0x20
LD_B_ABS = 0x30
JEQ = 0x15
JGT = 0x25
RET = 0x06
MUL = 0x24
MOD = 0x94
RSH = 0x74
AND = 0x54
XOR_X = 0xAC
TAX = 0x07

NET_OFF = 0xFFF00000  # SKF_NET_OFF
PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
PKTTYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
IFINDEX = 0xFFFFF008  # SKF_AD_OFF + SKF_AD_IFINDEX
VLAN_TAG = 0xFFFFF02C  # SKF_AD_OFF + SKF_AD_VLAN_TAG: 0 where there is none
ALL = 0xFFFFFFFF

IP_PROTOCOL, IP_SOURCE, IP_DESTINATION = NET_OFF + 9, NET_OFF + 12, NET_OFF + 16
IPPROTO_IGMP = 2
BEFORE_MULTICAST, MULTICAST_END = 0xDFFFFFFF, 0xEFFFFFFF  # 223.255.255.255, 239.255.255.255


class Instruction(NamedTuple):
    """One sock_filter; jt and jf count instructions to skip when the comparison holds or not."""

    code: int
    k: int = 0
    jt: int = 0
    jf: int = 0


Filter = Sequence[Instruction]
ACCEPT, REJECT = Instruction(RET, ALL), Instruction(RET, 0)


class Share(NamedTuple):
    """Which of `workers` equal shares of all (source, destination) pairs a ring takes."""

    worker: int = 0
    workers: int = 1


WHOLE = Share()


def _ours(ifindex: int, otherwise: Filter) -> list[Instruction]:
    """Drops what is not for us by this link, then goes on.

    That is frames for other hosts and outgoing ones; and frames of VLANs, which the kernel shows, without their tag, to
    sockets of the trunk for IPv4 too. Where the VLAN has a link of its own (it may be another port) they are of that
    link by then, else they count as for another host; that there was a tag shows in neither case.
    """
    return [
        Instruction(LD_W_ABS, IFINDEX),
        Instruction(JEQ, ifindex, 0, 3),
        Instruction(LD_W_ABS, PKTTYPE),
        Instruction(JEQ, PACKET_OTHERHOST, 1, 0),
        Instruction(JEQ, PACKET_OUTGOING, 0, 1),
        REJECT,
        *otherwise,
    ]


def _share(share: Share) -> list[Instruction]:
    """Accepts one share; the destination is in the accumulator. All of a flow falls into one share."""
    if share.workers == 1:
        return [ACCEPT]
    return [
        Instruction(MUL, 0x9E3779B1),
        Instruction(TAX),
        Instruction(LD_W_ABS, IP_SOURCE),
        Instruction(XOR_X),
        Instruction(MUL, 0x85EBCA6B),
        Instruction(RSH, 16),
        Instruction(MOD, share.workers),
        Instruction(JEQ, share.worker, 0, 1),
        ACCEPT,
        REJECT,
    ]


# RFC 9776 9.1 a
def data_filter(ifindex: int, share: Share = WHOLE) -> list[Instruction]:
    """IPv4 multicast without IGMP.

    224.0.0.0/24 is never forwarded (RFC 5771 section 4) and let in all the same, to be counted: who wonders why mDNS
    does not pass must find it. A neighbour can send us as much to any group that nobody wants.
    """
    return _ours(
        ifindex,
        [
            Instruction(LD_B_ABS, IP_PROTOCOL),
            Instruction(JEQ, IPPROTO_IGMP, 3, 0),
            Instruction(LD_W_ABS, IP_DESTINATION),
            Instruction(JGT, BEFORE_MULTICAST, 0, 1),
            Instruction(JGT, MULTICAST_END, 0, 1),
            REJECT,
            *_share(share),
        ],
    )


# RFC 9776 6 b
def igmp_filter(ifindex: int) -> list[Instruction]:
    """IPv4 packets that carry IGMP."""
    return _ours(ifindex, [Instruction(LD_B_ABS, IP_PROTOCOL), Instruction(JEQ, IPPROTO_IGMP, 0, 1), ACCEPT, REJECT])


def shared_igmp_filter() -> list[Instruction]:
    """IGMP in IPv4 that comes in by a link, and what this host itself sends there, for a socket of ETH_P_ALL.

    Such a socket is shown frames before VLANs are taken apart: they still have their tag, in and out, and are not of
    this link unless it says priority alone (VLAN 0).
    """
    return [
        Instruction(LD_W_ABS, PROTOCOL),
        Instruction(JEQ, ETH_P_IP, 0, 8),
        Instruction(LD_B_ABS, IP_PROTOCOL),
        Instruction(JEQ, IPPROTO_IGMP, 0, 6),
        Instruction(LD_W_ABS, PKTTYPE),
        Instruction(JEQ, PACKET_OTHERHOST, 4, 0),
        Instruction(LD_W_ABS, VLAN_TAG),
        Instruction(AND, 0xFFF),
        Instruction(JEQ, 0, 0, 1),
        ACCEPT,
        REJECT,
    ]


def reject_filter() -> list[Instruction]:
    """Nothing at all."""
    return [REJECT]


def assemble(program: Filter) -> bytes:
    """The program as an array of struct sock_filter."""
    return b"".join(SOCK_FILTER.pack(step.code, step.jt, step.jf, step.k) for step in program)


def fprog(program: Filter) -> tuple[bytes, object]:
    """A struct sock_fprog for SO_ATTACH_FILTER, and the memory it points to, to be kept until the call is made."""
    code = assemble(program)
    memory = ctypes.create_string_buffer(code, len(code))
    return SOCK_FPROG.pack(len(program), ctypes.addressof(memory)), memory
