"""Batches made by hand: frames laid into a plain buffer as a V3 ring lays them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forwarder.dataplane.ring import Batch

NET = 112  # the IP header's distance from its tpacket3_hdr
NO_VNET = bytes(10)


def address(text: str) -> int:
    return int.from_bytes(bytes(map(int, text.split("."))), "big")


def word_sum(data: bytes) -> int:
    """One's complement sum of 16-bit words, the slow way."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ip_packet(
    source: int = address("10.99.0.1"),
    group: int = address("239.1.1.1"),
    payload: bytes = bytes(28),
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0x1234,
    fragment: int = 0,
    protocol: int = 17,
    options: bytes = b"",
) -> bytes:
    length = 20 + len(options) + len(payload)
    first = 0x40 | (20 + len(options)) // 4
    start = struct.pack("!BBHHHBB", first, tos, length, identification, fragment, ttl, protocol)
    rest = struct.pack("!II", source, group) + options
    return start + struct.pack("!H", 0xFFFF ^ word_sum(start + rest)) + rest + payload


def udp(source: int, group: int, payload: bytes, ports: tuple[int, int] = (5000, 5001)) -> bytes:
    length = 8 + len(payload)
    start = struct.pack("!HHH", *ports, length)
    pseudo = struct.pack("!IIBBH", source, group, 0, 17, length)
    return start + struct.pack("!H", (0xFFFF ^ word_sum(pseudo + start + payload)) or 0xFFFF) + payload


def vnet(
    flags: int = 0, gso_type: int = 0, hdr_len: int = 0, gso_size: int = 0, start: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("=BBHHHH", flags, gso_type, hdr_len, gso_size, start, offset)


@dataclass(frozen=True)
class Frame:
    """An IP packet with what surrounds it in a ring; `link` are the bytes before it, `cut` those not captured."""

    packet: bytes
    link: bytes = bytes.fromhex("01005e010101020000000a01") + b"\x08\x00"
    vnet: bytes = NO_VNET
    padding: bytes = b""
    cut: int = 0
    status: int = 1


def batch_of(frames: Sequence[Frame], tail: int = 64) -> Batch:
    """The batch of `frames`; its buffer ends `tail` bytes after the last, rounded up to 8."""
    buffer, places = bytearray(48), []
    for each in frames:
        at = len(buffer)
        captured = (each.link + each.packet + each.padding)[: len(each.link + each.packet + each.padding) - each.cut]
        mac = at + NET - len(each.link)
        buffer += bytes(mac - 10 - at) + each.vnet + captured
        buffer += bytes(-len(buffer) % 8)
        places.append((at, mac, at + NET, len(captured), len(captured) + each.cut))
    buffer += bytes(tail // 8 * 8)
    memory = np.frombuffer(buffer, np.uint8)
    frame, mac, net, snaplen, length = np.array(places, np.int64).reshape(-1, 5).T.copy()
    status = np.array([each.status for each in frames], np.uint32)
    return Batch(memory, memory.view(np.uint64), frame, mac, net, snaplen, length, status)
