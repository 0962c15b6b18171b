"""The frames of a batch that go on, out of every port that wants them.

A message is a header block (vnet header, link header, IPv4 and in super-datagrams UDP header; rewritten) and the rest
of one packet or several where they lie in the ring: user space copies no payload. What does not fit an egress leaves
the fast path and goes out in its place among the others, so that a flow stays in order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.egress_drops import EgressDrops
from forwarder.dataplane.even import EvenMessages, Payloads
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
    copied,
    decrement_ttl,
    headerless,
    set_destination_mac,
    taken,
)
from forwarder.dataplane.ledger import Ledger
from forwarder.dataplane.paths import Way
from forwarder.dataplane.rates import PortRates, ip_bytes
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.segmentation import Runs, gather, singles, super_blocks
from forwarder.dataplane.slow_path import Divided, Divider
from forwarder.dataplane.steady import Recognised
from forwarder.dataplane.transmit import Addresses, Messages, strided
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import FIRST_REASON


class Going(NamedTuple):
    """What flows say of the m messages of a batch."""

    rows: Positions  # (m,) in the flow table
    bitmaps: Words  # (m, words): to which ports
    now: float

    def repeated(self, times: Positions) -> "Going":
        """The same for each of the frames of the messages, `times` (m,) of them."""
        return Going(np.repeat(self.rows, times), np.repeat(self.bitmaps, times, axis=0), self.now)


class Transmitter:
    """Sends to the ports of `ports`, by index; `segments`: datagrams that the kernel takes in a UDP super-frame, or 0.

    What goes to a port that is not among them (its sockets are not open yet, or not lent) is counted in its row of
    `counters`, shape (ports, BLOCK), as `transmit_failed`.
    """

    def __init__(
        self,
        ports: Mapping[int, Attachment],
        fanout: Fanout,
        capacity: int,
        counters: Words | None = None,
        ledger: Ledger | None = None,
        drops: EgressDrops | None = None,
    ) -> None:
        """`capacity`: frames in the largest batch; `ledger`: of rate limits that other workers share.

        `drops` is told which flows lose something at a port.
        """
        self.ports, self.fanout, self.capacity = ports, fanout, capacity
        self._counters, self._ledger, self._drops = counters, ledger, drops
        self._lanes = [_Lane(capacity) for _ in range(LANES)]
        self._payloads = Payloads(capacity)
        self._rates: dict[int, PortRates] = {}
        self.segments = 0
        self.burst = 64
        self.pause: Callable[[], bool] | None = None  # whether there was time for one; None: we are behind

    def send_stream(self, recognised: Recognised) -> None:
        """Send a batch that is all of one stream; in bursts, as long as there is time for a `pause` between them."""
        payloads, ways = self._payloads.of(recognised), recognised.stream.path.ways
        if recognised.frames > self.burst and self.pause:
            self._send_in_rounds(recognised, payloads)
            return

        def send(lane: int, ways: Iterator[Way]) -> None:
            messages = self._lanes[lane].even
            messages.fill(recognised, payloads, self.segments)
            for way in ways:
                messages.send(way, messages.all)

        self.fanout.share(ways, send, recognised.frames * len(ways))

    def _send_in_rounds(self, recognised: Recognised, payloads: Addresses) -> None:
        """A burst to every port, a pause in which receivers can take it, and so on."""
        messages, time = self._lanes[0].even, True
        messages.fill(recognised, payloads, min(self.segments, self.burst))
        for part in messages.rounds(self.burst):
            if part.first and time and self.pause:
                time = self.pause()
            for way in recognised.stream.path.ways:
                messages.send(way, part)

    def arrange(self, header: Columns, batch: Batch, frames: Positions, flows: Positions) -> Runs:
        """The `frames` that go on, of these `flows`, as the messages in which they leave."""
        if not self.segments or len(frames) < 2:
            return singles(frames)
        return gather(header, batch, frames, flows, self.segments)

    def send(self, header: Columns, batch: Batch, runs: Runs, going: Going) -> None:
        """Send the runs of a batch where they are `going`. The rows may be rewritten.

        A port that has to judge every datagram, for its MTU or a rate limit, gets them one by one.
        """
        load = _Load(header, batch, runs, going)
        choosy, others = [], []
        for index in _bits(load.leaving.some):
            port = self.ports.get(index)
            if port is None:
                self._count_lost(index, load)
            elif runs.gathered and (self._is_too_long(load, port) or port.limited):
                choosy.append(port)
            else:
                others.append(port)
        self._send_all(others, load)
        if choosy:
            self._send_all(choosy, _Load(header, batch, singles(runs.frames), going.repeated(runs.size)))

    def _count_lost(self, index: int, load: "_Load") -> None:
        """What should leave by a port that we do not have."""
        if self._counters is not None:
            mine = load.going.bitmaps[:, index >> 6] >> np.uint64(index & 63) & np.uint64(1) != 0
            lost = load.datagrams[mine]
            self._counters[index, FIRST_REASON + Reason.TRANSMIT_FAILED - 1] += np.uint64(lost.sum())
            self._note(index, Reason.TRANSMIT_FAILED, load.going.rows[mine], lost)

    def _drop(self, port: Attachment, reason: Reason, at: Positions, load: "_Load") -> None:
        """Count the messages at these positions, which a port does not get."""
        if at.size:
            port.count(reason, int(load.datagrams[at].sum()))
            self._note(port.port.index, reason, load.going.rows[at], load.datagrams[at])

    def _note(self, index: int, reason: Reason, rows: Positions, datagrams: Positions) -> None:
        if self._drops is not None:
            self._drops.count(index, reason, rows, datagrams)

    def _is_too_long(self, load: "_Load", port: Attachment) -> bool:
        """Whether anything of a batch may have to be divided for a port."""
        cut = load.leaving.udp_l4 is not None and not self.segments
        return load.leaving.longest > port.port.mtu or cut

    def _send_all(self, ports: Sequence[Attachment], load: "_Load") -> None:
        if any(self._is_too_long(load, port) for port in ports):
            load.divide()  # now: threads get copies of the load, and would make one each
        def send(lane: int, some: Iterator[Attachment]) -> None:
            own = load.of_its_own() if lane else load
            for port in some:
                self._send_to(port, own, self._lanes[lane])

        self.fanout.share(ports, send, int(load.datagrams.sum()) * len(ports))

    def _send_to(self, port: Attachment, load: "_Load", lane: "_Lane") -> None:
        index, settings = port.port.index, port.port.settings
        chosen = egress(load.leaving, index, settings.threshold, port.port.mtu, self.segments > 0)
        self._drop(port, Reason.MTU, chosen.mtu, load)
        self._drop(port, Reason.TTL_THRESHOLD, chosen.threshold, load)
        if port.limited:
            chosen = self._rates_of(port.port).within(chosen, load.going.rows, load.ip_bytes, load.going.now)
            self._drop(port, Reason.RATE_LIMITED, chosen.limited, load)
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
        share = load.divided.share(self.ports, self.segments > 0)
        pieces = load.divided.pieces(port.port.mtu, share, self.segments > 0)
        at, lost = lane.divider.send(port, pieces, share, chosen)
        if at.size:
            self._note(port.port.index, Reason.MTU, load.going.rows[at], lost)


class _Lane:
    """Messages of one thread, of each kind once it is needed: all four lanes of them would take 8 MiB before that."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity

    @cached_property
    def ethernet(self) -> Messages:
        """For links with a link header."""
        return Messages(self._capacity)

    @cached_property
    def bare(self) -> Messages:
        """For links without one."""
        return Messages(self._capacity)

    @cached_property
    def divider(self) -> Divider:
        """For links that not everything fits."""
        return Divider(self._capacity)

    @cached_property
    def even(self) -> EvenMessages:
        """Of steady streams."""
        return EvenMessages(self._capacity)


class _Load:
    """A batch as messages: header blocks with TTL and MAC addresses of the way out, and where the payload lies."""

    def __init__(self, header: Columns, batch: Batch, runs: Runs, going: Going) -> None:
        self.header, self.batch, self.runs, self.going = header, batch, runs, going
        heads = runs.heads
        self.leaving = outgoing(header, heads, going.bitmaps)
        as_they_lie = len(heads) == len(header.rows) and not np.count_nonzero(heads[1:] < heads[:-1])
        self._blocks = header.rows if not runs.gathered else taken(header.rows, heads)
        self._chosen = None if runs.gathered or as_they_lie else heads
        decrement_ttl(self._blocks)
        set_destination_mac(self._blocks, header.group[heads] if runs.gathered else header.group)
        if runs.gathered:
            super_blocks(header, runs, self._blocks)
        self._filled: set[bool] = set()
        self._bare_blocks = self._blocks

    def divide(self) -> None:
        """There are ports that not everything fits."""
        self.divided = Divided(self.header, self.batch, self.runs.frames, self.leaving, self.going.bitmaps)

    @cached_property
    def datagrams(self) -> Positions:
        """How many datagrams each message is on the wire, (m,)."""
        if not self.header.supers.size:
            return self.runs.size
        each = self.header.datagrams[self.runs.frames]
        return np.add.reduceat(each, self.runs.first) if self.runs.gathered else each

    @cached_property
    def ip_bytes(self) -> Positions:
        """What each frame, sent by itself, counts against rate limits."""
        return ip_bytes(self.header, self.runs.frames)

    def of_its_own(self) -> "_Load":
        """The same with header blocks of its own, for another thread."""
        other = copy(self)
        other._blocks, other._filled = copied(self._blocks), set()
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
            self._blocks["source"] = port.source
        return messages

    def _fill(self, messages: Messages, blocks: Rows, start: int) -> None:
        """Point `messages` at these header blocks, which begin `start` bytes into each row."""
        frames, runs = self.runs.frames, self.runs
        addresses = strided(blocks.ctypes.data + start, ROW.itemsize, len(blocks))
        if self._chosen is not None:
            addresses = addresses[self._chosen]
        payload = self.batch.net[frames] + (self.batch.address + IP_LENGTH)
        length = self.header.total_length[frames] - IP_LENGTH
        if not runs.gathered:
            messages.fill(addresses, L4 - start, payload.view(np.uint64), length.view(np.uint64))
            self._count_segments(messages, start)
            return
        several = runs.size > 1
        udp: Positions | int = UDP_LENGTH
        if np.count_nonzero(several) < len(several):
            udp = np.repeat(UDP_LENGTH * several, runs.size)
        payload, length = payload + udp, length - udp
        sizes = L4 - start + UDP_LENGTH * several
        messages.fill_runs(addresses, sizes, payload.view(np.uint64), length.view(np.uint64), runs.first, runs.size)
        self._count_segments(messages, start)

    def _count_segments(self, messages: Messages, start: int) -> None:
        """Super-frames that came in leave as they are, and count as their datagrams."""
        if not self.header.supers.size:
            return
        heads = self.runs.heads
        link = (self.header.datagrams[heads] - 1) * (ETHERNET_LENGTH - start)
        messages.count_as(self.datagrams, self.header.repeated_headers[heads] + link)


def _bits(bitmap: int) -> Iterator[int]:
    """The indexes of the bits that are set."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest
