"""The frames of a batch that go on, out of every port that wants them.

A message is a header block (vnet header, link header, first 20 bytes of IPv4; rewritten in place) and the rest of
the packet where it lies in the ring: user space copies no payload. What does not fit an egress leaves the fast path
and goes out in its place among the others, so that a flow stays in order.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.forwarding import Egress, Outgoing, egress, outgoing
from forwarder.dataplane.fragmentation import divide
from forwarder.dataplane.frame import (
    ETHERNET_LENGTH,
    IP_LENGTH,
    L4,
    ROW,
    Columns,
    Positions,
    Rows,
    decrement_ttl,
    headerless,
    set_destination_mac,
    set_source_mac,
)
from forwarder.dataplane.rates import PortRates, ip_bytes
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.transmit import Messages, Sent, send_frame, strided
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import TX_BYTES, TX_PACKETS
from igmp.link import group_mac

NO_OFFLOAD = bytes(10)
ETHERTYPE_IPV4 = b"\x08\x00"


class Going(NamedTuple):
    """What flows say of k frames on their way out."""

    rows: Positions  # in the flow table
    bitmaps: Words  # (k, words): to which ports
    now: float


class Transmitter:
    """Sends to the ports of `ports`, by index; `segmentation`: the kernel takes UDP super-frames."""

    def __init__(self, ports: Mapping[int, Attachment], capacity: int) -> None:
        """`capacity`: frames in the largest batch."""
        self._ports = ports
        self._ethernet, self._bare = Messages(capacity), Messages(capacity)
        self._rates: dict[int, PortRates] = {}
        self.segmentation = False

    def send(self, header: Columns, batch: Batch, ring_address: int, frames: Positions, going: "Going") -> None:
        """Send `frames` of the batch where they are `going`; the header rows are rewritten."""
        leaving = outgoing(header, frames, going.bitmaps)
        decrement_ttl(header.rows)
        set_destination_mac(header.rows, header.group)
        load = _Load(header, batch, ring_address, frames)
        load.fill(self._ethernet, header.rows, 0)
        bare: Rows | None = None
        for index in _bits(leaving.some):
            port = self._ports.get(index)
            if port is None:
                continue
            messages = self._ethernet
            if not port.link_header:
                messages = self._bare
                if bare is None:
                    bare = headerless(header.rows)
                    load.fill(messages, bare, ETHERNET_LENGTH)
            self._send_to(port, leaving, messages, load, going)

    def _send_to(
        self, port: Attachment, leaving: Outgoing, messages: Messages, load: "_Load", going: "Going"
    ) -> None:
        settings = port.port.settings
        chosen = egress(leaving, port.port.index, settings.threshold, port.port.mtu, self.segmentation)
        if chosen.mtu.size:
            port.count(Reason.MTU, len(chosen.mtu))
        if chosen.threshold.size:
            port.count(Reason.TTL_THRESHOLD, len(chosen.threshold))
        if settings.rate_limit or settings.flow_rate_limit:
            chosen = self._rates_of(port.port).within(chosen, going.rows, load.ip_bytes, going.now)
            port.count(Reason.RATE_LIMITED, len(chosen.limited))
        set_source_mac(load.header.rows, port.mac)
        if not chosen.fragment.size and not chosen.cut.size:
            everything = len(chosen.whole) == messages.count
            _count(port, messages.send(port.sending(), None if everything else chosen.whole))
            return
        self._send_mixed(port, chosen, messages, load)

    def _rates_of(self, port: Port) -> PortRates:
        """The state of a port's limits; it starts over when they change."""
        rates = self._rates.get(port.index)
        limits = port.settings.rate_limit, port.settings.flow_rate_limit, port.mtu
        if rates is None or rates.limits != limits:
            rates = self._rates[port.index] = PortRates(*limits)
        return rates

    def _send_mixed(self, port: Attachment, chosen: Egress, messages: Messages, load: "_Load") -> None:
        """Whole frames and divided ones in their order."""
        slow = np.sort(np.concatenate((chosen.fragment, chosen.cut)))
        runs = np.split(chosen.whole, np.searchsorted(chosen.whole, slow))
        for run, frame in zip(runs, [*slow.tolist(), None], strict=True):
            if run.size:
                _count(port, messages.send(port.sending(), run))
            if frame is not None:
                self._send_divided(port, load, frame)

    def _send_divided(self, port: Attachment, load: "_Load", frame: int) -> None:
        try:
            packets = divide(load.batch, load.header, int(load.frames[frame]), port.port.mtu)
        except ValueError:  # an MTU that holds no fragment, a checksum outside the packet
            port.count(Reason.MTU)
            return
        for packet in packets:
            link_header = b""
            if port.link_header:
                link_header = group_mac(int.from_bytes(packet[16:20])).to_bytes(6) + port.mac + ETHERTYPE_IPV4
            error = send_frame(port.sending(), NO_OFFLOAD + link_header + packet)
            size = len(link_header) + len(packet)
            _count(port, Sent(int(not error), 0 if error else size, int(bool(error)), error))


class _Load:
    """A batch's frames as messages need them: where their payload lies and how long it is."""

    def __init__(self, header: Columns, batch: Batch, ring_address: int, frames: Positions) -> None:
        self.header, self.batch, self.frames = header, batch, frames
        self._payload = (batch.net[frames] + (ring_address + IP_LENGTH)).view(np.uint64)
        self._length = (header.total_length[frames] - IP_LENGTH).view(np.uint64)
        self._everything = len(frames) == len(header.rows)

    @cached_property
    def ip_bytes(self) -> Positions:
        """What each frame counts against rate limits."""
        return ip_bytes(self.header, self.frames)

    def fill(self, messages: Messages, rows: Rows, start: int) -> None:
        """Point `messages` at these header blocks, which begin `start` bytes into each row."""
        blocks = strided(rows.ctypes.data + start, ROW, len(rows))
        messages.fill(blocks if self._everything else blocks[self.frames], L4 - start, self._payload, self._length)


def _count(port: Attachment, sent: Sent) -> None:
    port.counters[TX_PACKETS] += sent.sent
    port.counters[TX_BYTES] += sent.bytes
    if sent.failed:
        port.count(Reason.TRANSMIT_FAILED, sent.failed)


def _bits(bitmap: int) -> Iterator[int]:
    """The indexes of the bits that are set."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest
