"""Structures of the kernel as numpy types, for those who read and write many at once: the data plane.

Sources: linux/if_packet.h, sys/socket.h, sys/uio.h (LP64). Apart from `tpacket`, since numpy takes 6 MiB of every
process that imports it, and the supervisor and the agent need numbers alone.
"""

import numpy as np

TPACKET_BLOCK_DESC = np.dtype(
    {
        "names": ["version", "offset_to_priv", "block_status", "num_pkts", "offset_to_first_pkt", "blk_len", "seq_num"],
        "formats": ["u4", "u4", "u4", "u4", "u4", "u4", "u8"],
        "offsets": [0, 4, 8, 12, 16, 20, 24],
        "itemsize": 48,
    }
)
"""struct tpacket_block_desc with its hdr_v1."""

TPACKET2_HDR = np.dtype(
    {
        "names": ["status", "len", "snaplen", "mac", "net", "sec", "nsec"],
        "formats": ["u4", "u4", "u4", "u2", "u2", "u4", "u4"],
        "offsets": [0, 4, 8, 12, 14, 16, 20],
        "itemsize": 32,
    }
)
"""struct tpacket2_hdr; its sockaddr_ll follows."""

IOVEC = np.dtype([("base", "u8"), ("len", "u8")])
"""struct iovec."""

MMSGHDR = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "len"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "u4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""struct mmsghdr: a msghdr and how many bytes were sent of it."""
