"""The slow path: packets an egress cannot take as they are become packets it can. Pure, on bytes, one at a time.

A super-datagram is cut back into the datagrams its sender meant, each with a finished checksum; a packet longer than
the MTU is fragmented (RFC 791 section 3.2) unless DF forbids it. A checksum that a local sender left unfinished is
finished first, since no fragment can be. Packets of the usual shape are fragmented together (`division`); what is
here is for the others, and says what those must look like.
"""

import struct
from collections.abc import Iterator

from forwarder.dataplane.frame import DONT_FRAGMENT, ETHERNET_LENGTH, IP_LENGTH, UDP, UDP_LENGTH, Columns, packet
from forwarder.dataplane.ring import Batch
from forwarder.packet.tpacket import LONGEST_PACKET, VIRTIO_NET_HDR_GSO_UDP_L4
from igmp.checksum import checksum

MORE_FRAGMENTS = 0x2000
OFFSET = 0x1FFF

COPIED = 0x80
END_OF_OPTIONS, NO_OPERATION = 0, 1


def divide(batch: Batch, columns: Columns, frame: int, mtu: int) -> list[list[bytes]]:
    """The datagrams of one frame, rewritten already, each as the packets that carry it over an egress of `mtu`.

    One that DF forbids to fragment has no packets. ValueError when the frame cannot be divided.
    """
    whole = packet(batch, columns, frame)
    if columns.rows["gso_type"][frame] == VIRTIO_NET_HDR_GSO_UDP_L4:
        datagrams = cut(whole, int(columns.rows["gso_size"][frame]))
    elif columns.rows["flags"][frame]:
        start = int(columns.rows["csum_start"][frame]) - ETHERNET_LENGTH
        datagrams = [finish_checksum(whole, start, int(columns.rows["csum_offset"][frame]))]
    else:
        datagrams = [whole]
    return [[] if _is_forbidden(datagram, mtu) else fragments(datagram, mtu) for datagram in datagrams]


def _is_forbidden(packet: bytes, mtu: int) -> bool:
    return len(packet) > mtu and bool(packet[6] & DONT_FRAGMENT >> 8)


def fragments(packet: bytes, mtu: int) -> list[bytes]:
    """The packet in packets of at most `mtu` bytes (RFC 791 section 3.2).

    ValueError when not even 8 bytes fit, or when it is a fragment that ends where no packet reaches: its pieces would
    have offsets that do not fit their field.
    """
    if len(packet) <= mtu:
        return [packet]
    header_length = (packet[0] & 15) * 4
    header, payload = packet[:header_length], packet[header_length:]
    field = int.from_bytes(packet[6:8], "big")
    flags, offset, at = field & ~(OFFSET | MORE_FRAGMENTS), field & OFFSET, 0
    if offset * 8 + len(payload) > LONGEST_PACKET:
        raise ValueError(f"a fragment ends at {offset * 8 + len(payload)}")
    result = []
    while at < len(payload):
        room = mtu - len(header)
        size = len(payload) - at if len(payload) - at <= room else room // 8 * 8
        if size <= 0:
            raise ValueError(f"MTU {mtu} leaves no room for a fragment")
        more = MORE_FRAGMENTS if at + size < len(payload) else field & MORE_FRAGMENTS
        result.append(_with_fields(header, size, flags | more | offset + at // 8) + payload[at : at + size])
        at += size
        header = _later_header(packet[:header_length])
    return result


def finish_checksum(packet: bytes, csum_start: int, csum_offset: int) -> bytes:
    """The packet with its L4 checksum finished, as virtio_net_hdr says, `csum_start` counted from the IP header on."""
    at = csum_start + csum_offset
    if csum_start < IP_LENGTH or at + 2 > len(packet):
        raise ValueError(f"no checksum at {csum_start}+{csum_offset} of {len(packet)} bytes")
    value = checksum(packet[csum_start:]) or 0xFFFF  # 0 would say that there is none
    return packet[:at] + value.to_bytes(2, "big") + packet[at + 2 :]


def cut(packet: bytes, gso_size: int) -> list[bytes]:
    """A UDP super-datagram as datagrams of `gso_size` payload bytes, the last the rest; IDs count up (UDP GSO)."""
    header_length = (packet[0] & 15) * 4
    payload = packet[header_length + UDP_LENGTH :]
    if gso_size <= 0 or len(packet) < header_length + UDP_LENGTH:
        raise ValueError(f"cannot cut {len(packet)} bytes at {gso_size}")
    field = int.from_bytes(packet[6:8], "big")
    first = int.from_bytes(packet[4:6], "big")
    result = []
    for number, at in enumerate(range(0, max(len(payload), 1), gso_size)):
        datagram = _datagram(packet[:header_length], packet[header_length:][:4], payload[at : at + gso_size])
        identification = (first + number & 0xFFFF).to_bytes(2, "big")
        header = packet[:4] + identification + packet[6:header_length]
        result.append(_with_fields(header, len(datagram), field) + datagram)
    return result


def _datagram(header: bytes, ports: bytes, payload: bytes) -> bytes:
    """UDP with its checksum (RFC 768) under IPv4 addresses of `header`."""
    length = UDP_LENGTH + len(payload)
    pseudo = header[12:20] + struct.pack("!BBH", 0, UDP, length)
    value = checksum(pseudo + ports + struct.pack("!HH", length, 0) + payload) or 0xFFFF
    return ports + struct.pack("!HH", length, value) + payload


def _with_fields(header: bytes, size: int, fragment: int) -> bytes:
    """The header for `size` payload bytes, with its fragment field and a new checksum."""
    blank = header[:2] + struct.pack("!H", len(header) + size) + header[4:6] + struct.pack("!H", fragment)
    blank += header[8:10] + b"\0\0" + header[12:]
    return blank[:10] + checksum(blank).to_bytes(2, "big") + blank[12:]


def _later_header(header: bytes) -> bytes:
    """The header of fragments after the first: only options with the copy bit, padded to 4 bytes."""
    options = b"".join(option for option in _options(header[IP_LENGTH:]) if option[0] & COPIED)
    options += b"\0" * (-len(options) % 4)
    return bytes([0x40 | (IP_LENGTH + len(options)) // 4]) + header[1:IP_LENGTH] + options


def _options(area: bytes) -> Iterator[bytes]:
    """The options of a header, up to its end or the first that is malformed."""
    at = 0
    while at < len(area) and area[at] != END_OF_OPTIONS:
        size = 1 if area[at] == NO_OPERATION else int.from_bytes(area[at + 1 : at + 2], "big")
        if size == 0 or at + size > len(area) or (size == 1 and area[at] != NO_OPERATION):
            return
        yield area[at : at + size]
        at += size
