"""The messages of one steady stream: super-datagrams of equal datagrams, laid out once and pointed at each batch.

Nothing about them changes from batch to batch but where the payloads lie, how many there are, and the IP ID of each
message where a stream has one. So iovecs, lengths and header blocks stay from the batch before; an unusual last message
is the only one that differs in length. See `transmit` for who keeps which memory alive.
"""

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import CSUM_OFFSET, IP_LENGTH, L4, ROW, UDP_LENGTH
from forwarder.dataplane.paths import Way
from forwarder.dataplane.segmentation import CSUM_START, HEADERS, most_datagrams, seed_of
from forwarder.dataplane.steady import Recognised, Stream
from forwarder.dataplane.transmit import Queue, Sent, outcome, strided
from forwarder.packet.structures import IOVEC, MMSGHDR
from forwarder.packet.tpacket import VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4, VNET_HDR, VNET_HDR_LENGTH
from forwarder.state.worker_segment import TX_BYTES, TX_PACKETS
from igmp.checksum import checksum

Addresses = npt.NDArray[np.uint64]

FIELD = struct.Struct("!H")
FIELDS = ("identification", "checksum", "source")
IDENTIFICATION, CHECKSUM, SOURCE_AT = (ROW.fields[name][1] for name in FIELDS)  # type: ignore[index]
SOURCE = slice(6, 14)  # of a link header: the source, and the type behind it as in the field
FEW = 4  # messages whose source address Python writes sooner than numpy
HEADER_LENGTH = L4 + UDP_LENGTH


class Payloads:
    """Where the payloads of evenly spread frames lie, as addresses."""

    def __init__(self, capacity: int) -> None:
        self._addresses: Addresses = np.zeros(capacity, np.uint64)
        self._ramp: Addresses = np.arange(capacity, dtype=np.uint64)
        self._step = 0

    def of(self, recognised: Recognised) -> Addresses:
        """One address for each frame of a batch, valid until the next call."""
        ring, at = recognised.stream.ring, 0
        start = ring.address + ring.net + HEADERS
        for first, step, count in recognised.spans:
            if step != self._step and count > 1:
                self._ramp = np.arange(len(self._addresses), dtype=np.uint64) * np.uint64(step)
                self._step = step
            np.add(self._ramp[:count], start + first, self._addresses[at : at + count])
            at += count
        return self._addresses[:at]


class Part(NamedTuple):
    """Some of the messages: the first, the one behind the last, and what is sent when all of them go."""

    first: int
    end: int
    sent: Sent


class EvenMessages:
    """Those of one thread."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: datagrams in the largest batch."""
        iovecs, headers = np.zeros(2 * capacity, IOVEC), np.zeros(capacity, MMSGHDR)
        self._base, self._length, self._address = iovecs["base"], iovecs["len"], int(iovecs.ctypes.data)
        self._iov, self._iovlen = headers["iov"], headers["iovlen"]
        self._queue = Queue(headers)
        rows = np.zeros(capacity, ROW)
        self._blocks = rows.view(np.uint8).data
        self._sources = rows["source"]
        self._addresses = strided(rows.ctypes.data, ROW.itemsize, capacity)
        self._stream: Stream | None = None
        self._each, self._laid_out = 1, 0
        self._filled: list[int] = []  # for how many datagrams each header block is; 0: for none of this stream
        self._made: dict[int, tuple[bytes, int]] = {}  # header blocks by number of datagrams

    def fill(self, recognised: Recognised, payloads: Addresses, segments: int) -> None:
        """The messages of a batch whose payloads lie at these addresses, of `segments` datagrams at most."""
        stream, _, count, identifications = recognised
        each = most_datagrams(stream.size, segments)    # not by segments: with and without rounds it may be the same
        if stream is not self._stream or each != self._each:
            self._begin(stream, each)
        if -(-count // self._each) > self._laid_out:
            self._lay_out(-(-count // self._each))
        self._fill_blocks(stream, count)
        if identifications is not None:
            self._number_blocks(count, identifications[:: self._each].tolist())
        self._point(payloads)
        self._frames, self._octets = count, HEADER_LENGTH - VNET_HDR_LENGTH + stream.size
        self.all = self._part(0, self._count)

    def rounds(self, burst: int) -> list[Part]:
        """The messages in rounds of `burst` datagrams at most, but a message at least."""
        each = max(burst // self._each, 1)
        return [self._part(first, min(first + each, self._count)) for first in range(0, self._count, each)]

    def send(self, way: Way, part: Part) -> None:
        """Send those of a part, and count what became of them."""
        first, end, everything = part
        if end - first > FEW:
            self._sources[first:end] = way.port.source
        else:
            source = way.link[SOURCE]
            for at in range(first * ROW.itemsize + SOURCE_AT, end * ROW.itemsize, ROW.itemsize):
                self._blocks[at : at + len(source)] = source
        taken, error = self._queue.send(way.fd, end, first)
        if not error:
            way.counters[TX_PACKETS] += everything.sent     # as a memoryview: numpy takes three times as long
            way.counters[TX_BYTES] += everything.bytes
            return
        datagrams = self._iovlen[first:end].astype(np.int64) - 1
        way.port.count_sent(outcome(taken, error, datagrams, datagrams * self._octets, first))

    def _part(self, first: int, end: int) -> Part:
        datagrams = min(end * self._each, self._frames) - first * self._each
        return Part(first, end, Sent(datagrams, datagrams * self._octets, 0, 0))

    def _begin(self, stream: Stream, each: int) -> None:
        """Another stream than in the last batch, or messages of `each` datagrams where they were others."""
        self._stream, self._each, self._made = stream, each, {}
        self._laid_out, self._short = 0, -1

    def _lay_out(self, count: int) -> None:
        """Iovecs and lengths of `count` messages or more; not of all: streams come by turns."""
        stream, width = self._stream, self._each + 1
        most = min(2 * count, len(self._base) // width, len(self._addresses))
        length = self._length[: most * width].reshape(most, width)
        length[:, 0], length[:, 1:] = HEADER_LENGTH, stream.size if stream else 0
        self._bases = self._base[: most * width].reshape(most, width)
        self._bases[:, 0] = self._addresses[:most]
        self._iov[:most] = strided(self._address, width * IOVEC.itemsize, most)
        self._iovlen[:most] = width
        self._laid_out, self._short = most, -1
        self._filled = [0] * most

    def _point(self, payloads: Addresses) -> None:
        """Each message at its payloads; the last may have fewer."""
        full, rest = divmod(len(payloads), self._each)
        if full:
            self._bases[:full, 1:] = payloads[: full * self._each].reshape(full, self._each)
        if self._short >= 0:
            self._iovlen[self._short] = self._each + 1
            self._short = -1
        if rest:
            self._bases[full, 1 : rest + 1] = payloads[full * self._each :]
            self._iovlen[full], self._short = rest + 1, full
        self._count = full + (rest > 0)

    def _fill_blocks(self, stream: Stream, count: int) -> None:
        """A header block for each message, where it has not had one for as many datagrams since the batch before."""
        for number, left in enumerate(range(count, 0, -self._each)):
            datagrams = min(left, self._each)
            if datagrams != self._filled[number]:
                if datagrams not in self._made:
                    self._made[datagrams] = _block(stream, datagrams)
                at = number * ROW.itemsize
                self._blocks[at : at + ROW.itemsize] = self._made[datagrams][0]
                self._filled[number] = datagrams

    def _number_blocks(self, count: int, identifications: list[int]) -> None:
        """Each message's ID, and the checksum of the header with it."""
        blocks, at, left = self._blocks, 0, count
        for identification in identifications:
            total = self._made[min(left, self._each)][1]
            FIELD.pack_into(blocks, at + IDENTIFICATION, identification)
            FIELD.pack_into(blocks, at + CHECKSUM, _checksum(total, identification))
            at, left = at + ROW.itemsize, left - self._each


def _block(stream: Stream, count: int) -> tuple[bytes, int]:
    """The header block of a message of `count` datagrams, and the sum of its IPv4 header without ID and checksum."""
    header, size, kind, header_length, segment = stream.header, stream.size, 0, 0, 0
    if count > 1:
        kind, header_length, segment = VIRTIO_NET_HDR_GSO_UDP_L4, CSUM_START + UDP_LENGTH, size
    vnet = VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, kind, header_length, segment, CSUM_START, CSUM_OFFSET)
    length = UDP_LENGTH + size * count
    start = header[:2] + FIELD.pack(IP_LENGTH + length)
    total = 0xFFFF ^ checksum(start + bytes(2) + header[6:10] + bytes(2) + header[12:])
    identification = header[4:6]
    ip = start + identification + header[6:10]
    ip += FIELD.pack(_checksum(total, int.from_bytes(identification, "big"))) + header[12:]
    udp = stream.datagram[:4] + FIELD.pack(length) + FIELD.pack(seed_of(header, length))
    return vnet + stream.path.ways[0].link + ip + udp + bytes(4), total


def _checksum(total: int, identification: int) -> int:
    """The checksum of an IPv4 header whose other words add up to `total`."""
    total += identification
    return 0xFFFF ^ (total & 0xFFFF) + (total >> 16)
