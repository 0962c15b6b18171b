"""The packet socket ABI: numbers, struct layouts and ring geometry, in the kernel's own words.

Sources: linux/if_packet.h, linux/virtio_net.h, linux/if_arp.h, asm-generic/socket.h, linux/socket.h (LP64).
Rules: constants and layouts only, nothing here calls the kernel. Integers are in host byte order.
"""

import struct
from dataclasses import dataclass

ETH_P_ALL = 0x0003
ETH_P_IP = 0x0800
ETH_P_RESERVED = 0xFFFF  # RFC 1701: assigned to nobody
LONGEST_PACKET = 65535
"""Octets of an IPv4 packet, whose length field has 16 bits (RFC 791)."""

# socket options: SOL_SOCKET
SO_ATTACH_FILTER = 26
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_LOCK_FILTER = 44
SO_MEMINFO = 55

# socket options: SOL_PACKET
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_RX_RING = 5
PACKET_STATISTICS = 6
PACKET_COPY_THRESH = 7
PACKET_VERSION = 10
PACKET_RESERVE = 12
PACKET_VNET_HDR = 15

TPACKET_V2 = 1
TPACKET_V3 = 2
PACKET_MR_PROMISC = 1
PACKET_MR_ALLMULTI = 2
PACKET_OTHERHOST = 3
PACKET_OUTGOING = 4

TP_STATUS_KERNEL = 0
TP_STATUS_USER = 1
TP_STATUS_COPY = 2
TP_STATUS_LOSING = 4
TP_STATUS_CSUMNOTREADY = 8
TP_STATUS_CSUM_VALID = 0x80

VIRTIO_NET_HDR_F_NEEDS_CSUM = 1
VIRTIO_NET_HDR_F_DATA_VALID = 2
VIRTIO_NET_HDR_GSO_NONE = 0
VIRTIO_NET_HDR_GSO_UDP_L4 = 5
VNET_HDR_LENGTH = 10

ARPHRD_ETHER = 1
ARPHRD_PPP = 512
ARPHRD_RAWIP = 519
ARPHRD_TUNNEL = 768
ARPHRD_LOOPBACK = 772
ARPHRD_IPGRE = 778
ARPHRD_NONE = 0xFFFE

UIO_MAXMESSAGES = 1024
"""Most messages one sendmmsg(2) takes (UIO_MAXIOV in net/socket.c)."""

RESERVE = 6
"""PACKET_RESERVE that puts the IP header at NET: 80 (aligned header and link) + 16 + RESERVE + vnet header."""
NET = 112
"""Offset of the IP header from its tpacket3_hdr; a multiple of 8 whatever the link header's length is."""
NET_V2 = 96
"""The same from its tpacket2_hdr."""

SOCK_FILTER = struct.Struct("=HBBI")
SOCK_FPROG = struct.Struct("@HP")
SOCKADDR_LL = struct.Struct("=HHiHBB8s")
PACKET_MREQ = struct.Struct("=iHH8s")
TPACKET_REQ = struct.Struct("=4I")
TPACKET_REQ3 = struct.Struct("=7I")
TPACKET_STATS = struct.Struct("=2I")
SK_MEMINFO = struct.Struct("=9I")      # SO_MEMINFO: what the receive queue takes comes first, bytes
VNET_HDR = struct.Struct("=BBHHHH")

BLOCK_DESC_LENGTH = 48
"""Octets of struct tpacket_block_desc with its hdr_v1."""

FRAME_SIZE = 2048


@dataclass(frozen=True, slots=True)
class RingLayout:
    """Geometry of a receive ring: bytes a block (a multiple of the page), blocks, milliseconds to retire one (V3)."""

    block_size: int = 128 * 1024
    block_nr: int = 512
    retire_blk_tov: int = 1
    version: int = TPACKET_V3

    @property
    def size(self) -> int:
        """Bytes of the whole ring."""
        return self.block_size * self.block_nr

    @property
    def frame_nr(self) -> int:
        """Slots of FRAME_SIZE bytes; in V3, where frames are as long as they are, a formality."""
        return self.block_size // FRAME_SIZE * self.block_nr

    @property
    def units(self) -> int:
        """What a position in the ring counts: slots in V2, blocks in V3."""
        return self.frame_nr if self.version == TPACKET_V2 else self.block_nr

    @property
    def most_frames(self) -> int:
        """Most frames one block can hold: each takes at least its headers and a bare IPv4 header."""
        return (self.block_size - BLOCK_DESC_LENGTH) // (NET + 24)

    def request(self) -> bytes:
        """The struct tpacket_req or tpacket_req3 for PACKET_RX_RING."""
        if self.version == TPACKET_V2:
            return TPACKET_REQ.pack(self.block_size, self.block_nr, FRAME_SIZE, self.frame_nr)
        return TPACKET_REQ3.pack(
            self.block_size, self.block_nr, FRAME_SIZE, self.frame_nr, self.retire_blk_tov, 0, 0
        )
