"""The layouts match the kernel's headers (sizes and offsets printed by a C program on LP64)."""

import ctypes

import pytest

from forwarder.packet import tpacket
from forwarder.packet.structures import IOVEC, MMSGHDR, TPACKET2_HDR, TPACKET_BLOCK_DESC
from forwarder.packet.tpacket import RingLayout


def offsets(dtype) -> dict[str, int]:
    return {name: field[1] for name, field in dtype.fields.items()}


def test_struct_sizes():
    assert (TPACKET_BLOCK_DESC.itemsize, IOVEC.itemsize, MMSGHDR.itemsize) == (tpacket.BLOCK_DESC_LENGTH, 16, 64)
    assert (tpacket.SOCKADDR_LL.size, tpacket.PACKET_MREQ.size, tpacket.SOCK_FILTER.size) == (20, 16, 8)
    assert (tpacket.TPACKET_REQ3.size, tpacket.TPACKET_STATS.size, tpacket.SOCK_FPROG.size) == (28, 8, 16)
    assert tpacket.VNET_HDR.size == tpacket.VNET_HDR_LENGTH == 10


def test_block_fields():
    assert offsets(TPACKET_BLOCK_DESC) == {
        "version": 0, "offset_to_priv": 4, "block_status": 8, "num_pkts": 12, "offset_to_first_pkt": 16, "blk_len": 20,
        "seq_num": 24,
    }  # fmt: skip


def test_slot_fields():
    assert TPACKET2_HDR.itemsize == 32
    assert offsets(TPACKET2_HDR) == {
        "status": 0, "len": 4, "snaplen": 8, "mac": 12, "net": 14, "sec": 16, "nsec": 20,
    }  # fmt: skip


def test_numbers_are_those_of_the_kernels_headers():
    """linux/if_packet.h, linux/virtio_net.h, linux/if_arp.h, linux/if_ether.h, asm-generic/socket.h."""
    expected = {
        "ETH_P_IP": 0x0800, "SO_ATTACH_FILTER": 26, "SO_SNDBUFFORCE": 32, "SO_RCVBUFFORCE": 33, "SO_LOCK_FILTER": 44,
        "SOL_PACKET": 263, "PACKET_ADD_MEMBERSHIP": 1, "PACKET_RX_RING": 5, "PACKET_STATISTICS": 6,
        "PACKET_COPY_THRESH": 7, "PACKET_VERSION": 10, "PACKET_RESERVE": 12, "PACKET_VNET_HDR": 15, "TPACKET_V2": 1,
        "TPACKET_V3": 2, "PACKET_MR_PROMISC": 1, "PACKET_MR_ALLMULTI": 2, "PACKET_OTHERHOST": 3, "PACKET_OUTGOING": 4,
        "TP_STATUS_KERNEL": 0, "TP_STATUS_USER": 1, "TP_STATUS_COPY": 2, "TP_STATUS_LOSING": 4,
        "TP_STATUS_CSUMNOTREADY": 8, "TP_STATUS_CSUM_VALID": 0x80, "VIRTIO_NET_HDR_F_NEEDS_CSUM": 1,
        "VIRTIO_NET_HDR_F_DATA_VALID": 2, "VIRTIO_NET_HDR_GSO_NONE": 0, "VIRTIO_NET_HDR_GSO_UDP_L4": 5,
        "ARPHRD_ETHER": 1, "ARPHRD_PPP": 512, "ARPHRD_RAWIP": 519, "ARPHRD_TUNNEL": 768, "ARPHRD_LOOPBACK": 772,
        "ARPHRD_IPGRE": 778, "ARPHRD_NONE": 0xFFFE, "UIO_MAXMESSAGES": 1024,
    }  # fmt: skip
    assert {name: getattr(tpacket, name, number) for name, number in expected.items()} == expected


def test_iovec_is_an_address_and_a_length():
    assert offsets(IOVEC) == {"base": 0, "len": 8}


def test_mmsghdr_is_a_msghdr_and_a_length():
    class Msghdr(ctypes.Structure):
        _fields_ = [
            ("name", ctypes.c_void_p),
            ("namelen", ctypes.c_uint32),
            ("iov", ctypes.c_void_p),
            ("iovlen", ctypes.c_size_t),
            ("control", ctypes.c_void_p),
            ("controllen", ctypes.c_size_t),
            ("flags", ctypes.c_int),
        ]

    expected = {name: getattr(Msghdr, name).offset for name, _ in Msghdr._fields_}
    assert offsets(MMSGHDR) == {**expected, "len": ctypes.sizeof(Msghdr)}


@pytest.mark.parametrize("link_header", [0, 14])
def test_reserve_puts_the_ip_header_at_a_multiple_of_eight(link_header: int):
    aligned = (68 + max(link_header, 16) + 15) // 16 * 16  # TPACKET3_HDRLEN, as tpacket_rcv() computes it
    net = aligned + tpacket.RESERVE + tpacket.VNET_HDR_LENGTH
    assert net == tpacket.NET
    assert net % 8 == 0


def test_ring_layout_is_one_the_kernel_accepts():
    layout = RingLayout()
    size, blocks, frame, frames, timeout, private, features = tpacket.TPACKET_REQ3.unpack(layout.request())
    assert size * blocks == layout.size == 64 << 20
    assert size % 4096 == 0
    assert frame % 16 == 0
    assert frames == size // frame * blocks
    assert (timeout, private, features) == (1, 0, 0)


def test_a_ring_of_slots_asks_for_slots_and_counts_them():
    layout = RingLayout(block_size=16384, block_nr=3, version=tpacket.TPACKET_V2)
    assert tpacket.TPACKET_REQ.unpack(layout.request())[:2] == (16384, 3)
    size, blocks, frame, frames = tpacket.TPACKET_REQ.unpack(layout.request())
    assert frame * frames == size * blocks == layout.size
    assert layout.units == layout.frame_nr == frames
    assert RingLayout(block_nr=7).units == 7


def test_slots_have_their_ip_header_where_the_kernel_puts_it():
    for link_header in (0, 14):
        aligned = (52 + max(link_header, 16) + 15) // 16 * 16   # TPACKET2_HDRLEN
        assert aligned + tpacket.RESERVE + tpacket.VNET_HDR_LENGTH == tpacket.NET_V2


def test_most_frames_is_a_block_of_bare_headers():
    assert RingLayout(block_size=4096).most_frames == (4096 - 48) // 136 == 29
