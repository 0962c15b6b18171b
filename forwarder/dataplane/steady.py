"""Recognises the most frequent batch: like datagrams of one flow from the first to the last, as a steady stream leaves.

What such a stream looks like is kept per ingress (`Stream`), with what is known of it: that its headers are sound, its
checksums right, where it leads. A batch is recognised when every frame of it is alike in all bits that count, the
bookkeeping of the ring included: one comparison of words that lie where they lie. Nothing is copied and nothing sent
here; what is not recognised goes the general way. Ethernet only, and only checksums that the kernel vouches for.

The numbers that vary within a stream are the IP ID (and the header checksum with it) and UDP checksums that are
finished. IDs need to count up unless DF makes them meaningless; a header checksum is right when it is as much larger as
its ID is smaller than the first's; a finished UDP checksum has the kernel's word, unless it is 0: that is none.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.frame import CSUM_OFFSET, DONT_FRAGMENT, ETHERNET_LENGTH, IP_LENGTH, UDP, UDP_LENGTH
from forwarder.dataplane.paths import Path
from forwarder.dataplane.ring import Ring, Span
from forwarder.dataplane.scalar import Plain, Scalar
from forwarder.dataplane.segmentation import CSUM_START, seed_of
from forwarder.packet.tpacket import TP_STATUS_CSUM_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM, VNET_HDR, VNET_HDR_LENGTH

Words = npt.NDArray[np.uint64]
Identifications = npt.NDArray[np.uint16]

UNFINISHED = VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, CSUM_START, CSUM_OFFSET)
BEFORE_IP = VNET_HDR_LENGTH + ETHERNET_LENGTH
COMPARED = IP_LENGTH + UDP_LENGTH + 4  # bytes from the IP header on, to a whole word
_ALL = b"\xff"


def _mask(ring: Ring, identification: bytes, header_checksum: bytes, udp_checksum: bytes) -> Words:
    """Which bits of a frame's first words must be alike, with these for the fields that may vary."""
    ip = _ALL * 4 + identification + _ALL * 4 + header_checksum + _ALL * 8
    octets = bytes(ring.net - BEFORE_IP) + _ALL * BEFORE_IP + ip + _ALL * 6 + udp_checksum + bytes(4)
    mask = np.frombuffer(bytearray(octets), np.uint64)
    mask[: len(ring.head_mask)] |= ring.head_mask
    return mask


@dataclass(slots=True, eq=False)
class Stream:
    """One steady stream: what its frames look like in `ring`, and what is known of it."""

    ring: Ring
    generation: int  # of the path
    path: Path
    counters: memoryview  # of the ingress
    header: bytes  # IPv4, one hop older
    datagram: bytes  # the UDP header
    length: int  # octets of a frame
    size: int  # octets of payload a datagram
    header_sum: int  # of ID and header checksum as they came
    reference: Words
    mask: Words  # where IDs do not vary
    loose: Words  # where they do
    numbered: bool  # whether they vary: without DF they must
    finished: bool  # whether UDP checksums are, each a number of its own



class Recognised(NamedTuple):
    """A batch that is all of one stream: its frames, and their IDs in order where they are not all the same."""

    stream: Stream
    spans: list[Span]
    frames: int
    identifications: Identifications | None


class Steady:
    """Knows the streams of each ingress again, by the paths that `scalar` knows."""

    def __init__(self, scalar: Scalar, capacity: int) -> None:
        """`capacity`: frames in the largest batch."""
        self._scalar, self._paths = scalar, scalar.paths
        self._streams: dict[int, Stream] = {}
        self._difference = np.zeros((capacity, 20), np.uint64)
        self._masked = np.zeros((capacity, 20), np.uint64)

    def recognise(self, ingress: Attachment, spans: list[Span]) -> Recognised | None:
        """What the frames of `spans` in the ring of `ingress` are; None: anything else."""
        ring, count = ingress.ring, 0
        for span in spans:
            count += span.frames
        if count < 2 or ingress.link_header != ETHERNET_LENGTH or not _look_like_one(ring, spans):
            return None
        stream = self._streams.get(ingress.port.index)
        known = stream is not None and stream.ring is ring and self._paths.holds(stream.generation)
        if stream and known and (recognised := self._compare(stream, spans, count)):
            return recognised
        stream = self._begin(ingress, spans[0])
        if stream is None:
            return None
        self._streams[ingress.port.index] = stream
        return self._compare(stream, spans, count)

    def forget(self) -> None:
        """Ports came, went, or are no longer what they were."""
        self._streams.clear()

    def _begin(self, ingress: Attachment, span: Span) -> Stream | None:
        """The stream of which the first frame of a span may be one, if it is fit for a super-datagram."""
        ring = ingress.ring
        place = ring.place(span.first)
        plain = self._scalar.plain(ingress, place) if place else None
        if place is None or plain is None:
            return None
        datagram = bytes(plain.rest[:UDP_LENGTH])
        trusted = _has_right_seed(plain, datagram) or _is_vouched_for(ring, span, plain, datagram)
        if not _can_be_gathered(plain, datagram) or not trusted:
            return None
        udp_checksum = _ALL * 2 if plain.vnet[0] else bytes(2)
        words = (ring.net + COMPARED) // 8
        return Stream(
            ring=ring,
            generation=self._paths.generation,
            path=plain.path,
            counters=ingress.counters.data,
            header=plain.header,
            datagram=datagram,
            length=place.length,
            size=len(plain.rest) - UDP_LENGTH,
            header_sum=_folded(*struct.unpack_from("!4xH4xH", ring.view, place.net)),
            reference=ring.words[span.first // 8 : span.first // 8 + words].copy(),
            mask=_mask(ring, _ALL * 2, _ALL * 2, udp_checksum),
            loose=_mask(ring, bytes(2), bytes(2), udp_checksum),
            numbered=not plain.header[6] & DONT_FRAGMENT >> 8,
            finished=not plain.vnet[0],
        )

    def _compare(self, stream: Stream, spans: list[Span], count: int) -> Recognised | None:
        """Every frame with the reference."""
        different = self._differences(stream, spans, count)
        masked = self._masked[:count, : different.shape[1]]
        if not stream.numbered:
            stream.numbered = bool(np.count_nonzero(np.bitwise_and(different, stream.mask, masked)))
        identifications = None
        if stream.numbered:
            if np.count_nonzero(np.bitwise_and(different, stream.loose, masked)):
                return None
            identifications = self._identifications(stream, different)
            if identifications is None:
                return None
        if stream.finished and not self._have_checksums(stream, different):
            return None
        return Recognised(stream, spans, count, identifications)

    def _differences(self, stream: Stream, spans: list[Span], count: int) -> Words:
        """The first words of each frame, exclusive-or the reference, (count, words)."""
        reference, ring, at = stream.reference, stream.ring, 0
        width = len(reference)
        found = self._difference[:count, :width]
        for first, step, number in spans:
            frames = np.ndarray((number, width), np.uint64, ring.words, first, (step, 8))
            np.bitwise_xor(frames, reference, found[at : at + number])
            at += number
            if ring.chained:
                found[at - 1, 0] = 0
        return found

    def _identifications(self, stream: Stream, different: Words) -> Identifications | None:
        """The IDs of all frames, where these and the header checksums that go with them are as they must be."""
        ip, fields = stream.ring.net // 2, different.view(np.uint16)
        first = stream.reference.view(np.uint16)[[ip + 2, ip + 5]]
        identifications = (fields[:, ip + 2] ^ first[0]).byteswap()
        checksums = (fields[:, ip + 5] ^ first[1]).byteswap()
        total = identifications.astype(np.uint32) + checksums
        total = (total & np.uint32(0xFFFF)) + (total >> np.uint32(16))
        if np.count_nonzero(total != stream.header_sum):  # all else being equal, one header checksum is wrong
            return None
        ascending = bool(stream.header[6] & DONT_FRAGMENT >> 8)
        ascending = ascending or not np.count_nonzero(identifications[1:] - identifications[:-1] != 1)
        return identifications if ascending else None

    def _have_checksums(self, stream: Stream, different: Words) -> bool:
        """Whether every datagram has a UDP checksum; one without would get one by offload."""
        at = (stream.ring.net + IP_LENGTH + CSUM_OFFSET) // 2
        return not np.count_nonzero(different.view(np.uint16)[:, at] == stream.reference.view(np.uint16)[at])


def _folded(one: int, other: int) -> int:
    total = one + other
    return (total & 0xFFFF) + (total >> 16)


def _look_like_one(ring: Ring, spans: list[Span]) -> bool:
    """A cheap look at destination and ports of three frames: batches of several flows do not pay for the whole."""
    first, last, middle = spans[0], spans[-1], spans[len(spans) // 2]
    at, words = (ring.net + 16) // 8, ring.words
    one = words[first.first // 8 + at]
    other = words[(last.first + last.step * (last.frames - 1)) // 8 + at]
    third = words[(middle.first + middle.step * (middle.frames // 2)) // 8 + at]
    return bool(one == other) and bool(one == third)


def _can_be_gathered(plain: Plain, datagram: bytes) -> bool:
    """Whether a datagram may be part of a super-datagram on all its ways: whole UDP, no fragment, Ethernet out."""
    header, length = plain.header, len(plain.rest)
    whole = not plain.vnet[1] and header[9] == UDP and not header[6] & 0xBF and not header[7]
    whole = whole and length > UDP_LENGTH and int.from_bytes(datagram[4:6], "big") == length
    return whole and all(way.link and not way.longer for way in plain.path.ways)


def _has_right_seed(plain: Plain, datagram: bytes) -> bool:
    length = int.from_bytes(datagram[4:6], "big")
    return plain.vnet == UNFINISHED and datagram[6:8] == seed_of(plain.header, length).to_bytes(2, "big")


def _is_vouched_for(ring: Ring, span: Span, plain: Plain, datagram: bytes) -> bool:
    """Whether the driver says that the checksum, which is there, is right."""
    return not plain.vnet[0] and datagram[6:8] != b"\0\0" and bool(ring.status(span.first) & TP_STATUS_CSUM_VALID)
