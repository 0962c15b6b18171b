"""The frames of a batch that go on, out of every port that wants them.

A message is a header block (vnet header, link header, IPv4 and in super-datagrams UDP header; rewritten) and the rest
of one packet or several where they lie in the ring: user space copies no payload. What does not fit an egress leaves
the fast path and goes out in its place among the others, so that a flow stays in order.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.fanout import LANES, Fanout
from forwarder.dataplane.forwarding import Egress, egress, outgoing
from forwarder.dataplane.frame import (
    ETHERNET_LENGTH,
    IP_LENGTH,
    L4,
    ROW,
    UDP_LENGTH,
    Columns,
    Positions,
    Rows,
    decrement_ttl,
    headerless,
    set_destination_mac,
    set_source_mac,
)
from forwarder.dataplane.ledger import Ledger
from forwarder.dataplane.rates import PortRates, datagrams, ip_bytes
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.segmentation import Runs, gather, singles, super_blocks
from forwarder.dataplane.slow_path import Divided, Divider
from forwarder.dataplane.transmit import Messages, strided
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason


class Going(NamedTuple):
    """What flows say of the m messages of a batch."""

    rows: Positions  # (m,) in the flow table
    bitmaps: Words  # (m, words): to which ports
    now: float

    def repeated(self, times: Positions) -> "Going":
        """The same for each of the frames of the messages, `times` (m,) of them."""
        return Going(np.repeat(self.rows, times), np.repeat(self.bitmaps, times, axis=0), self.now)


class Transmitter:
    """Sends to the ports of `ports`, by index; `segmentation`: the kernel takes UDP super-frames."""

    def __init__(
        self, ports: Mapping[int, Attachment], fanout: Fanout, capacity: int, ledger: Ledger | None = None
    ) -> None:
        """`capacity`: frames in the largest batch; `ledger`: of rate limits that other workers share."""
        self.ports, self.fanout, self.capacity, self._ledger = ports, fanout, capacity, ledger
        self._lanes = [_Lane(Messages(capacity), Messages(capacity), Divider(capacity)) for _ in range(LANES)]
        self._rates: dict[int, PortRates] = {}
        self.segmentation = False

    def arrange(self, header: Columns, batch: Batch, frames: Positions, flows: Positions) -> Runs:
        """The `frames` that go on, of these `flows`, as the messages in which they leave."""
        if not self.segmentation or len(frames) < 2:
            return singles(frames)
        return gather(header, batch, frames, flows)

    def send(self, header: Columns, batch: Batch, runs: Runs, going: Going) -> int:
        """Send the runs of a batch where they are `going`; to how many ports. The rows may be rewritten.

        A port that has to judge every datagram, for its MTU or a rate limit, gets them one by one.
        """
        load = _Load(header, batch, runs, going)
        choosy, others = [], []
        some = load.leaving.some
        for index in _bits(some):
            port = self.ports.get(index)
            if port is None:
                continue
            if runs.gathered and (load.leaving.longest > port.port.mtu or port.port.limited):
                choosy.append(port)
            else:
                others.append(port)
        self._send_all(others, load)
        if choosy:
            self._send_all(choosy, _Load(header, batch, singles(runs.frames), going.repeated(runs.size)))
        return some.bit_count()

    def _send_all(self, ports: Sequence[Attachment], load: "_Load") -> None:
        def send(lane: int, some: Iterator[Attachment]) -> None:
            own = load.of_its_own() if lane else load
            for port in some:
                self._send_to(port, own, self._lanes[lane])

        self.fanout.share(ports, send)

    def _send_to(self, port: Attachment, load: "_Load", lane: "_Lane") -> None:
        index, settings = port.port.index, port.port.settings
        chosen = egress(load.leaving, index, settings.threshold, port.port.mtu, self.segmentation)
        if chosen.mtu.size:
            port.count(Reason.MTU, len(chosen.mtu))
        if chosen.threshold.size:
            port.count(Reason.TTL_THRESHOLD, int(load.runs.size[chosen.threshold].sum()))
        if port.port.limited:
            chosen = self._rates_of(port.port).within(chosen, load.going.rows, load.ip_bytes, load.going.now)
            limited = load.runs.frames[chosen.limited]
            port.count(Reason.RATE_LIMITED, int(datagrams(load.header, limited).sum()))
        if chosen.fragment.size or chosen.cut.size:
            self._send_mixed(port, chosen, load, lane)
            return
        messages = load.messages(lane, port)
        everything = len(chosen.whole) == messages.count
        port.count_sent(messages.send(port.sending(), None if everything else chosen.whole))

    def _rates_of(self, port: Port) -> PortRates:
        """The state of a port's limits; it starts over when they change."""
        rates = self._rates.get(port.index)
        limits = port.settings.rate_limit, port.settings.flow_rate_limit, port.mtu
        if rates is None or rates.limits != limits:
            account = self._ledger.account(port.index) if self._ledger else None
            rates = self._rates[port.index] = PortRates(*limits, account)
        return rates

    def _send_mixed(self, port: Attachment, chosen: Egress, load: "_Load", lane: "_Lane") -> None:
        """Whole frames and divided ones in their order."""
        share = load.divided.share(self.ports, self.segmentation)
        lane.divider.send(port, load.divided.pieces(port.port.mtu, share, self.segmentation), share, chosen)


class _Lane(NamedTuple):
    """Messages of one thread, for links with a link header and without, and for those that not everything fits."""

    ethernet: Messages
    bare: Messages
    divider: Divider


class _Load:
    """A batch as messages: header blocks with TTL and MAC addresses of the way out, and where the payload lies."""

    def __init__(self, header: Columns, batch: Batch, runs: Runs, going: Going) -> None:
        self.header, self.batch, self.runs, self.going = header, batch, runs, going
        heads = runs.heads if runs.gathered else runs.frames
        self.leaving = outgoing(header, heads, going.bitmaps)
        self.divided = Divided(header, batch, runs.frames, self.leaving, going.bitmaps)
        self._address = batch.address
        as_they_lie = len(heads) == len(header.rows) and not np.count_nonzero(heads[1:] < heads[:-1])
        self._blocks = header.rows if not runs.gathered else header.rows[heads]
        self._chosen = None if runs.gathered or as_they_lie else heads
        decrement_ttl(self._blocks)
        set_destination_mac(self._blocks, header.group[heads] if runs.gathered else header.group)
        if runs.gathered:
            super_blocks(header, runs, self._blocks)
        self._filled: set[bool] = set()
        self._bare_blocks = self._blocks

    @cached_property
    def ip_bytes(self) -> Positions:
        """What each frame, sent by itself, counts against rate limits."""
        return ip_bytes(self.header, self.runs.frames)

    def of_its_own(self) -> "_Load":
        """The same with header blocks of its own, for another thread."""
        other = copy(self)
        other._blocks, other._filled = self._blocks.copy(), set()
        return other

    def messages(self, lane: _Lane, port: Attachment) -> Messages:
        """Those for links of the port's kind, with its address; filled at their first use."""
        has_header = bool(port.link_header)
        messages = lane.ethernet if has_header else lane.bare
        if has_header not in self._filled:
            self._filled.add(has_header)
            if has_header:
                self._fill(messages, self._blocks, 0)
            else:
                self._bare_blocks = headerless(self._blocks)
                self._fill(messages, self._bare_blocks, ETHERNET_LENGTH)
        if has_header:
            set_source_mac(self._blocks, port.mac)
        return messages

    def _fill(self, messages: Messages, blocks: Rows, start: int) -> None:
        """Point `messages` at these header blocks, which begin `start` bytes into each row."""
        frames, runs = self.runs.frames, self.runs
        addresses = strided(blocks.ctypes.data + start, ROW, len(blocks))
        if self._chosen is not None:
            addresses = addresses[self._chosen]
        payload = self.batch.net[frames] + (self._address + IP_LENGTH)
        length = self.header.total_length[frames] - IP_LENGTH
        if not runs.gathered:
            messages.fill(addresses, L4 - start, payload.view(np.uint64), length.view(np.uint64))
            return
        several = runs.size > 1
        udp: Positions | int = UDP_LENGTH
        if np.count_nonzero(several) < len(several):
            udp = np.repeat(UDP_LENGTH * several, runs.size)
        payload, length = payload + udp, length - udp
        sizes = L4 - start + UDP_LENGTH * several
        messages.fill_runs(addresses, sizes, payload.view(np.uint64), length.view(np.uint64), runs.first, runs.size)


def _bits(bitmap: int) -> Iterator[int]:
    """The indexes of the bits that are set."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest
