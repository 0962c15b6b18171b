"""What a bad neighbour sends: each attack is one burst of it, from a host on a downstream link or upstream.

An attack is made for a `Front`, once or again and again; what the kernel refuses to send is not sent.
"""

import os
import random
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK, Lab
from netns.flood import Flood, seal
from netns.frames import (
    ETH_P_IP,
    PACKET_VNET_HDR,
    ROUTER_ALERT,
    SOL_PACKET,
    Injector,
    Source,
    ethernet,
    group_mac,
    ipv4,
    send_super_frame,
    udp,
)
from netns.plant import NOISE

VNET_UFO = struct.pack("=BBHHHH", 1, 3, 42, 1480, 34, 6)  # VIRTIO_NET_HDR_GSO_UDP: one datagram, sent as fragments
NEAR, FAR = "10.9.0.1", "10.9.0.2"  # the two ends of the tap
SPOOFED = 0x64400000  # 100.64.0.0/10, which the attacked port accepts
SPRAY = 4096  # sources in a spray
RATE = 20_000  # frames a second of a flood
EDGES = ((1110, 59 * 1110), (1472, 65_507), (1400, 65_506), (1110, 65_477), (1110, 65_476), (512, 65_024), (1, 64))
PROGRESSIONS = (1, 2, 255, 256, 4096, 0x10001, 0x9E3779B1)  # from source to source: a weak hash maps them together
VLAN = b"\x81\x00\x00\x05"


@dataclass(frozen=True)
class Front:
    """Where attacks come from and where to: `wanted` is a group that some port wants, `unwanted` nobody does."""

    lab: Lab
    host: Namespace  # the attacker, on LINK
    address: str  # its own
    wanted: str
    unwanted: str
    tap: int | None  # the descriptor of a tap's user
    random: random.Random


# --- attacks of one burst ---


def longest_super_datagrams(front: Front) -> None:
    """UDP_SEGMENT up to the largest there are."""
    for size, length in EDGES:
        with Source(front.host, segment=size) as source, suppress(OSError):
            source.send(front.wanted, NOISE[:length])


def jumbo_datagrams(front: Front) -> None:
    """To be divided for every port of a smaller MTU, and some that may not be."""
    for dont_fragment in (False, False, True):
        with Source(front.host, dont_fragment=dont_fragment) as source, suppress(OSError):
            source.send(front.wanted, *(NOISE[:size] for size in (8972, 1473, 30_000, 8900, 65_507, 1472) * 5))


def undescribed_frames(front: Front) -> None:
    """A tap's user sends frames that the kernel cannot describe to us, among others."""
    if front.tap is not None:
        plain = bytes(10) + ethernet(udp(FAR, front.wanted, b"between"))
        for frame in (plain, VNET_UFO + ethernet(udp(FAR, front.wanted, NOISE[:3000])), plain, plain):
            with suppress(OSError):
                os.write(front.tap, frame)


def malformed_frames(front: Front) -> None:
    """Random octets, headers that lie, fragments, tags, and super-frames that do not add up."""
    with Injector(front.host) as injector:
        for frame in (*_noise(front), *_lies(front), *_tagged(front)):
            with suppress(OSError):
                injector.send_frame(frame)
    long = ethernet(udp(front.address, front.wanted, NOISE[:8000]))
    for segment in (0, 1, 7, 1473, 9000, 65_535):
        with suppress(OSError):
            send_super_frame(front.host, LINK, long, segment)
    _send_unfinished(front)


def _send_unfinished(front: Front) -> None:
    """Frames whose checksum is to be written where no checksum is; newer kernels refuse most of them."""
    frames = [ethernet(udp(front.address, front.wanted, NOISE[:size])) for size in (800, 4000)]
    with front.host.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        front.host.run(sock.bind, (LINK, ETH_P_IP))
        for start, offset in ((0, 0), (0, 30), (4, 6), (14, 10), (20, 2), (33, 6), (34, 7), (34, 500), (800, 6)):
            for frame in frames:
                with suppress(OSError):
                    sock.send(struct.pack("=BBHHHH", 1, 0, 0, 0, start, offset) + frame)


def _noise(front: Front) -> Iterator[bytes]:
    for size in (14, 15, 18, 33, 34, 41, 42, 60, 1514):
        yield front.random.randbytes(size)
        octets = group_mac(front.wanted) + bytes.fromhex("020000000099 0800") + front.random.randbytes(size)
        yield octets[:size]
        yield (octets[:14] + b"\x45" + octets[15:])[: max(size, 14)]


def _lies(front: Front) -> Iterator[bytes]:
    here, group = front.address, front.wanted
    fields: Iterable[dict[str, object]] = (
        {"ttl": 0}, {"ttl": 1}, {"options": ROUTER_ALERT}, {"options": b"\x83\x27\x04" + b"\1" * 37},
        {"options": b"\x44\x00\0\0"}, {"flags": 0x2000}, {"flags": 0x00B9}, {"flags": 0x1FFF}, {"flags": 0x8000},
        {"version": 6}, {"words": 4}, {"words": 15}, {"length": 19}, {"length": 27}, {"length": 65_535},
        {"header_sum": 0}, {"header_sum": 0xFFFF}, {"protocol": 0}, {"protocol": 2}, {"wrong": 0}, {"wrong": 0xFFFF},
    )  # fmt: skip
    for each in fields:
        yield ethernet(udp(here, group, NOISE[: front.random.randrange(1, 1400)], **each))
    for source in ("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"):
        yield ethernet(udp(source, group))
    yield ethernet(ipv4(here, group))
    yield ethernet(ipv4(here, group, b"\0" * 7))


def _tagged(front: Front) -> Iterator[bytes]:
    frame = ethernet(udp(front.address, front.wanted, b"tagged"))
    for tags in (VLAN, VLAN * 2, b"\x88\xa8\x00\x05" + VLAN, b"\x81\x00"):
        yield frame[:12] + tags + frame[12:]


ATTACKS: tuple[Callable[[Front], None], ...] = (
    longest_super_datagrams,
    jumbo_datagrams,
    undescribed_frames,
    malformed_frames,
)


# --- attacks that last ---


def spray(front: Front, step: int) -> npt.NDArray[np.uint8]:
    """SPRAY frames of as many sources, `step` from one to the next; every other one goes to the unwanted group."""
    frame = ethernet(udp(FAR, front.wanted, b"one of a spray", wrong=0))
    octets = np.tile(np.frombuffer(frame, np.uint8), (SPRAY, 1))
    sources = SPOOFED | (np.arange(1, SPRAY + 1, dtype=np.uint64) * np.uint64(step) & np.uint64(0x3FFFFF))
    octets[:, 26:30] = sources.astype(">u4")[:, None].view(np.uint8).reshape(-1, 4)
    octets[1::2, 30:34] = np.frombuffer(socket.inet_aton(front.unwanted), np.uint8)
    octets[1::2, :6] = np.frombuffer(group_mac(front.unwanted), np.uint8)
    octets[:, 24:26] = 0
    seal(octets[:, 14:34], 10)
    return octets


@contextmanager
def sprayed(front: Front, namespace: Namespace, step: int, rate: int = RATE) -> Iterator[Flood]:
    """A flood of spoofed sources while the context lasts."""
    with Flood(namespace, rate, spray(front, step)) as flood:
        yield flood


def tap(stack: ExitStack, router: Namespace) -> int | None:
    """A tap link whose user says with each frame what is to become of it, as a virtual machine does; None: no tap."""
    try:
        fd = links.tun(router, "tap0", ethernet=True, vnet_header=True)
    except OSError:
        return None
    stack.callback(os.close, fd)
    links.add_address(router, "tap0", f"{NEAR}/24")
    links.up(router, "tap0")
    links.wait_up(router, "tap0")
    return fd
