"""The layouts match the kernel's headers (sizes and offsets printed by a C program on LP64)."""

import ctypes

import pytest

from forwarder.packet import tpacket
from forwarder.packet.tpacket import IOVEC, MMSGHDR, TPACKET3_HDR, TPACKET_BLOCK_DESC, RingLayout


def offsets(dtype) -> dict[str, int]:
    return {name: field[1] for name, field in dtype.fields.items()}


def test_struct_sizes():
    assert (TPACKET_BLOCK_DESC.itemsize, TPACKET3_HDR.itemsize, IOVEC.itemsize, MMSGHDR.itemsize) == (48, 48, 16, 64)
    assert (tpacket.SOCKADDR_LL.size, tpacket.PACKET_MREQ.size, tpacket.SOCK_FILTER.size) == (20, 16, 8)
    assert (tpacket.TPACKET_REQ3.size, tpacket.TPACKET_STATS.size, tpacket.SOCK_FPROG.size) == (28, 8, 16)
    assert tpacket.VNET_HDR.size == tpacket.VNET_HDR_LENGTH == 10


def test_block_and_frame_fields():
    assert offsets(TPACKET_BLOCK_DESC)["block_status"] == 8
    assert offsets(TPACKET_BLOCK_DESC)["seq_num"] == 24
    assert offsets(TPACKET3_HDR) == {
        "next_offset": 0, "sec": 4, "nsec": 8, "snaplen": 12, "len": 16, "status": 20, "mac": 24, "net": 26,
    }  # fmt: skip


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


def test_most_frames_is_a_block_of_bare_headers():
    assert RingLayout(block_size=4096).most_frames == (4096 - 48) // 136 == 29
