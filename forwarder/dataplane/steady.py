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
WORD, BIG_ENDIAN = np.dtype(np.uint64), np.dtype(">u2")

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


class FirstWords:
    """The first words of the frames of a batch side by side, copied from a ring whose IP headers lie at `net`."""

    def __init__(self, capacity: int, net: int) -> None:
        self.words = np.zeros((capacity, (net + COMPARED) // 8), np.uint64)
        self.masked = np.zeros_like(self.words)
        fields, ip = self.words.view(np.uint16), net // 2
        self.identification, self.header_checksum = fields[:, ip + 2], fields[:, ip + 5]
        self.udp_checksum = fields[:, (net + IP_LENGTH + CSUM_OFFSET) // 2]


class Likeness:
    """What frames are compared with: which bits of their first words, and what those are in `reference`.

    All frames are compared by one memcmp, which takes a third of the time of numpy's ways, with as many repetitions.
    """

    def __init__(self, mask: Words, reference: Words) -> None:
        self._mask, self._one = mask, (reference & mask).tobytes()
        self._many = b""

    def holds(self, seen: FirstWords, count: int) -> bool:
        """Whether the first `count` frames are alike."""
        if len(self._many) < count * len(self._one):
            self._many = self._one * (2 * count)
        masked = seen.masked[:count]
        np.bitwise_and(seen.words[:count], self._mask, masked)
        return self._many.startswith(masked)  # type: ignore[arg-type]  # it takes any buffer


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
    seen: FirstWords  # of the frames of a batch
    first: int  # the first of them in each frame
    same: Likeness  # where IDs do not vary
    loose: Likeness  # where they do
    header_sums: bytes  # of ID and header checksum as they came, in as many frames as there may be
    numbered: bool  # whether IDs vary: without DF they must
    finished: bool  # whether UDP checksums are, each a number of its own


class Recognised(NamedTuple):
    """A batch that is all of one stream: its frames, and their IDs in order where they are not all the same.

    It is valid until the next one is recognised.
    """

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
        self._capacity = capacity
        self._seen: dict[int, FirstWords] = {}  # by where IP headers lie: V2 and V3 rings differ

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
        seen = self._seen_in(ring)
        reference = ring.words[span.first // 8 : span.first // 8 + seen.words.shape[1]]
        header_sum = _folded(*struct.unpack_from("=4xH4xH", ring.view, place.net))
        return Stream(
            ring=ring,
            generation=self._paths.generation,
            path=plain.path,
            counters=ingress.counters.data,
            header=plain.header,
            datagram=datagram,
            length=place.length,
            size=len(plain.rest) - UDP_LENGTH,
            seen=seen,
            first=int(reference[0]),
            same=Likeness(_mask(ring, _ALL * 2, _ALL * 2, udp_checksum), reference),
            loose=Likeness(_mask(ring, bytes(2), bytes(2), udp_checksum), reference),
            header_sums=struct.pack("=H", header_sum) * self._capacity,
            numbered=not plain.header[6] & DONT_FRAGMENT >> 8,
            finished=not plain.vnet[0],
        )

    def _seen_in(self, ring: Ring) -> FirstWords:
        if ring.net not in self._seen:
            self._seen[ring.net] = FirstWords(self._capacity, ring.net)
        return self._seen[ring.net]

    def _compare(self, stream: Stream, spans: list[Span], count: int) -> Recognised | None:
        """Every frame with what the stream's look like."""
        self._see(stream, spans)
        seen, identifications = stream.seen, None
        if not stream.numbered:
            stream.numbered = not stream.same.holds(seen, count)
        if stream.numbered:
            if not stream.loose.holds(seen, count):
                return None
            identifications = self._identifications(stream, count)
            if identifications is None:
                return None
        if stream.finished and np.count_nonzero(seen.udp_checksum[:count]) < count:
            return None     # one without checksum would get one by offload
        return Recognised(stream, spans, count, identifications)

    def _see(self, stream: Stream, spans: list[Span]) -> None:
        """Copy the first words of each frame: the ring's own lie too far apart to be looked at several times."""
        ring, words, at = stream.ring, stream.seen.words, 0
        width = words.shape[1]
        for first, step, number in spans:
            end = at + number
            words[at:end] = np.ndarray((number, width), WORD, ring.view, first, (step, 8))
            if ring.chained:
                words[end - 1, 0] = stream.first
            at = end

    def _identifications(self, stream: Stream, count: int) -> Identifications | None:
        """The IDs of all frames, where these and the header checksums that go with them are as they must be.

        Ones' complement sums are the same in any byte order (RFC 1071), so the words are added as they lie.
        """
        identifications = stream.seen.identification[:count]
        total = identifications + stream.seen.header_checksum[:count]
        total += total < identifications  # the carry, which 16 bits have no room for
        if not stream.header_sums.startswith(total):  # type: ignore[arg-type]  # all else is equal: a checksum is wrong
            return None
        identifications = identifications.view(BIG_ENDIAN)
        ascending = bool(stream.header[6] & DONT_FRAGMENT >> 8)
        ascending = ascending or not np.count_nonzero(identifications[1:] - identifications[:-1] != 1)
        return identifications if ascending else None


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
