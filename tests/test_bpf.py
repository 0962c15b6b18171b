"""The filters, run by a ten-line interpreter over packets of which only the network header is known.

What the kernel knows beside the packet is as netif_receive_skb() shows it to sockets for IPv4 that are bound to TRUNK:
frames of a VLAN have lost their tag by then, and where the VLAN has a link of its own they are received by that.
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.packet import bpf
from forwarder.packet.bpf import (
    ALL,
    Instruction,
    Share,
    data_filter,
    igmp_filter,
    reject_filter,
    shared_igmp_filter,
)

HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)
TRUNK, VLAN = 3, 9  # interface indexes
addresses = st.integers(0, 0xFFFFFFFF)
edges = st.integers(0xDFFFFFF0, 0xE0000200) | st.integers(0xEFFFFFF0, 0xF0000010)


def load(packet: bytes, beside: dict[int, int], k: int, size: int) -> int | None:
    if k in beside:
        return beside[k]
    at = k - bpf.NET_OFF
    return int.from_bytes(packet[at : at + size]) if at >= 0 and at + size <= len(packet) else None


def run(
    program: list[Instruction], packet: bytes, pkttype: int = MULTICAST, ifindex: int = TRUNK,
    ethertype: int = 0x0800, tagged: int = 0,
) -> int:
    """What the kernel would return: bytes to keep; a load beyond the packet returns 0."""
    beside = {
        bpf.PKTTYPE: pkttype, bpf.IFINDEX: ifindex, bpf.PROTOCOL: ethertype, bpf.VLAN_TAG: tagged,
    }  # fmt: skip
    a = x = at = 0
    word = 0xFFFFFFFF
    while True:
        code, k, jt, jf = program[at]
        at += 1
        match code:
            case bpf.RET:
                return k
            case bpf.LD_W_ABS | bpf.LD_B_ABS:
                loaded = load(packet, beside, k, 4 if code == bpf.LD_W_ABS else 1)
                if loaded is None:
                    return 0
                a = loaded
            case bpf.JEQ:
                at += jt if a == k else jf
            case bpf.JGT:
                at += jt if a > k else jf
            case bpf.TAX:
                x = a
            case bpf.MUL:
                a = a * k & word
            case bpf.XOR_X:
                a ^= x
            case bpf.AND:
                a &= k
            case bpf.RSH:
                a >>= k
            case bpf.MOD:
                a %= k
            case _:
                raise AssertionError(f"unknown opcode {code:#x}")


def ipv4(source: int, destination: int, protocol: int) -> bytes:
    return struct.pack("!BBHHHBBHII", 0x45, 0, 20, 0, 0, 9, protocol, 0, source, destination)


def multicast(destination: int, protocol: int) -> bool:
    return destination >> 28 == 0xE and protocol != 2


# RFC 9776 9.1 a
@given(addresses, addresses | edges, st.integers(0, 3))
def test_data_filter_passes_multicast(source: int, destination: int, protocol: int):
    passed = run(data_filter(TRUNK), ipv4(source, destination, protocol))
    assert passed == (ALL if multicast(destination, protocol) else 0)


@pytest.mark.parametrize(
    ("destination", "passes"),
    [
        (0xDFFFFFFF, False),
        (0xE0000000, True),
        (0xE00000FF, True),
        (0xEFFFFFFF, True),
        (0xF0000000, False),
    ],
)
def test_data_filter_at_the_edges(destination: int, passes: bool):
    assert (run(data_filter(TRUNK), ipv4(1, destination, 17)) == ALL) is passes


@pytest.mark.parametrize("program", [data_filter(TRUNK), data_filter(TRUNK, Share(0, 1)), igmp_filter(TRUNK)])
def test_frames_of_others_and_outgoing_ones_are_dropped(program: list[Instruction]):
    packet = ipv4(1, 0xEF010203, 2 if program == igmp_filter(TRUNK) else 17)
    verdicts = [run(program, packet, pkttype) for pkttype in (HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING)]
    assert verdicts == [ALL, ALL, ALL, 0, 0]


@given(addresses, addresses | edges, st.sampled_from([2, 17]), st.integers(0, 4), st.integers(1, 12), st.integers(1, 3))
def test_frames_of_a_vlan_are_taken_by_the_link_of_that_vlan_only(
    source: int, destination: int, protocol: int, pkttype: int, received_by: int, workers: int
):
    packet = ipv4(source, destination, protocol)

    def takers(*filters: list[Instruction]) -> int:
        return sum(run(each, packet, pkttype, received_by) == ALL for each in filters)

    own = received_by in (TRUNK, VLAN) and pkttype not in (OTHERHOST, OUTGOING)
    shares = [Share(worker, workers) for worker in range(workers)]
    data = [data_filter(link, share) for link in (TRUNK, VLAN) for share in shares]
    assert takers(*data) == (own and multicast(destination, protocol))
    assert takers(igmp_filter(TRUNK), igmp_filter(VLAN)) == (own and protocol == 2)


# RFC 9776 6 b
@given(addresses, addresses, st.integers(0, 255))
def test_igmp_filter_passes_igmp_to_whomever(source: int, destination: int, protocol: int):
    assert run(igmp_filter(TRUNK), ipv4(source, destination, protocol)) == (ALL if protocol == 2 else 0)


@given(addresses, addresses, st.sampled_from([0, 2, 17]), st.integers(0, 4), st.sampled_from([0x800, 0x86DD, 0x806]),
       st.sampled_from([0, 5, 0xE000, 0xE005]))  # fmt: skip
def test_shared_igmp_is_that_of_the_link_both_ways_without_what_is_of_a_vlan(
    source: int, destination: int, protocol: int, pkttype: int, ethertype: int, tag: int
):
    wanted = protocol == 2 and ethertype == 0x800 and pkttype != OTHERHOST and tag in (0, 0xE000)
    packet = ipv4(source, destination, protocol)
    verdict = run(shared_igmp_filter(), packet, pkttype, ethertype=ethertype, tagged=tag)
    assert verdict == (ALL if wanted else 0)


@given(addresses, st.integers(0xE0000100, 0xEFFFFFFF), st.integers(1, 16))
def test_every_flow_falls_into_exactly_one_share(source: int, group: int, workers: int):
    packet = ipv4(source, group, 17)
    taken = [run(data_filter(TRUNK, Share(worker, workers)), packet) == ALL for worker in range(workers)]
    assert taken.count(True) == 1


def test_shares_of_neighbouring_groups_are_about_equal():
    packets = [ipv4(0x0A000001, 0xEF000000 + (channel << 8) + 1, 17) for channel in range(1, 1001)]
    taken = [sum(run(data_filter(TRUNK, Share(worker, 4)), packet) == ALL for packet in packets) for worker in range(4)]
    assert sum(taken) == 1000
    assert min(taken) > 200


@given(st.binary(max_size=19))
def test_truncated_headers_never_pass_as_multicast(packet: bytes):
    assert run(data_filter(TRUNK), packet) == 0


def test_reject_filter_rejects():
    assert run(reject_filter(), ipv4(1, 0xEF010203, 17)) == 0


@pytest.mark.parametrize(
    "program",
    [data_filter(TRUNK, Share(3, 8)), igmp_filter(TRUNK), shared_igmp_filter(), reject_filter()],
)
def test_jumps_stay_inside_and_the_last_instruction_returns(program: list[Instruction]):
    assert program[-1].code == bpf.RET
    assert all(at + 1 + max(step.jt, step.jf) < len(program) for at, step in enumerate(program[:-1]))


def test_assembly_is_an_array_of_sock_filter():
    assert bpf.assemble([Instruction(bpf.JEQ, 0xDEADBEEF, 1, 2)]) == struct.pack("=HBBI", 0x15, 1, 2, 0xDEADBEEF)
    prog, memory = bpf.fprog(igmp_filter(TRUNK))
    assert struct.unpack("@HP", prog)[0] == len(igmp_filter(TRUNK))
    assert memory is not None
