"""Whether this kernel describes UDP super-frames in vnet headers (Linux 6.2): one that does not drops them.

The kernel is asked by a datagram of two segments to ourselves on the loopback link, where a packet socket with vnet
headers sees it as one frame or gets an error for it. Nothing leaves the machine. Where that tells nothing (the link is
down), the kernel's release does; older ones are known that have it, newer ones without it are not.
"""

import errno
import os
import re
import select
import socket
import time

from forwarder.packet.tpacket import ETH_P_IP, PACKET_VNET_HDR, SOL_PACKET, VIRTIO_NET_HDR_GSO_UDP_L4

LOOPBACK, ADDRESS = "lo", "127.0.0.1"
UDP_SEGMENT = 103  # linux/udp.h
PATIENCE = 0.1  # seconds; most often it is there when sendto returns
SINCE = (6, 2)


def super_frames_taken() -> bool:
    """Whether a ring gets UDP super-frames. Needs CAP_NET_RAW to ask the kernel itself."""
    try:
        answer = _asked()
    except OSError:
        answer = None
    return release_takes(os.uname().release) if answer is None else answer


def release_takes(release: str) -> bool:
    """What a kernel's release tells; one that is no number is taken for a new one."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is None or tuple(map(int, numbers.groups())) >= SINCE


def _asked() -> bool | None:
    """The kernel's answer, None for none; OSError where it could not be asked."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as tap,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        tap.bind((LOOPBACK, ETH_P_IP))
        sender.bind((ADDRESS, 0))
        sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1)
        sender.sendto(b"ab", sender.getsockname())
        return _seen(tap)


def _seen(tap: socket.socket) -> bool | None:
    """Look through what comes by the loopback link for a super-frame, whosever it is."""
    poll, until = select.poll(), time.monotonic() + PATIENCE
    poll.register(tap, select.POLLIN)
    while (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):  # others may send there without end
        try:
            if tap.recv(64)[1] == VIRTIO_NET_HDR_GSO_UDP_L4:
                return True
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno == errno.EINVAL:  # there was one, and it is gone
                return False
    return None
