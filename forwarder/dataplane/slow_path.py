"""Sending a batch to ports that not all of its frames fit: divided once for all ports of an MTU, in bounded time.

A port gets an equal share of what may be divided in a batch (`division.BUDGET`). What is more is dropped there and
counted `mtu`: the cure is a larger MTU, or a sender of shorter datagrams.
"""

import threading
from collections.abc import Mapping

import numpy as np

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.division import BUDGET, MOST, Division
from forwarder.dataplane.forwarding import Egress, Mask, Outgoing
from forwarder.dataplane.frame import ETHERNET_LENGTH, ROW, Columns, Positions, Rows, copied, headerless
from forwarder.dataplane.pieces import Pieces
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.transmit import Messages, Sent, strided
from forwarder.state.flow_columns import Words
from forwarder.state.reasons import Reason
from forwarder.state.segment import split_bitmap


class Divided:
    """One batch as it is on links of each MTU, made when it is first asked for; threads share it."""

    def __init__(self, header: Columns, batch: Batch, frames: Positions, leaving: Outgoing, bitmaps: Words) -> None:
        """`frames` (k,) go to the ports of `bitmaps` (k, words)."""
        self._division = Division(header, batch, frames, leaving)
        self._leaving, self._bitmaps = leaving, bitmaps
        self._lock = threading.Lock()
        self._groups: dict[int, list[int]] = {}
        self._made: dict[int, Pieces] = {}

    def share(self, ports: Mapping[int, Attachment], segmentation: bool) -> int:
        """How many fragments a port of `ports` may be sent."""
        with self._lock:
            if not self._groups:
                self._group(ports, segmentation)
        return max(BUDGET // sum(map(len, self._groups.values())), 1)

    def pieces(self, mtu: int, share: int, segmentation: bool) -> Pieces:
        """The batch for ports of this MTU, which get their `share` of it each."""
        with self._lock:
            if mtu not in self._made:
                ports = self._groups[mtu]
                self._made[mtu] = self._division.pieces(self._wanted(ports), mtu, segmentation, share * len(ports))
            return self._made[mtu]

    def _group(self, ports: Mapping[int, Attachment], segmentation: bool) -> None:
        """The ports that not everything fits, by their MTU."""
        cut = self._leaving.udp_l4 is not None and not segmentation
        for index, port in ports.items():
            if self._leaving.some >> index & 1 and (cut or port.port.mtu < self._leaving.longest):
                self._groups.setdefault(port.port.mtu, []).append(index)

    def _wanted(self, ports: list[int]) -> Mask:
        """Which frames go to any of these ports."""
        bitmap = split_bitmap(sum(1 << index for index in ports), self._bitmaps.shape[1])
        return np.asarray((self._bitmaps & np.array(bitmap, np.uint64)).any(axis=1))


class Divider:
    """What a thread needs to send divided batches: messages, and header blocks to write its ports' addresses into."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: frames in the largest batch."""
        self._messages = Messages(capacity + BUDGET + MOST)
        self._blocks: Rows = np.empty(0, ROW)
        self._filled: tuple[Pieces, bool] | None = None

    def send(self, port: Attachment, pieces: Pieces, share: int, chosen: Egress) -> tuple[Positions, Positions]:
        """Send what is `chosen` of a batch to a port, up to `share` fragments, and count what becomes of it.

        Positions of what was dropped for the MTU, and how many datagrams of each.
        """
        at = np.sort(np.concatenate((chosen.whole, chosen.fragment, chosen.cut)))
        slow = pieces.slow[at]
        fragments = np.where(slow, pieces.count[at], 0)
        kept = ~slow | (np.cumsum(fragments) - fragments < share)
        lost = np.where(kept, pieces.lost[at], pieces.datagrams[at])
        port.count(Reason.MTU, int(lost.sum()))
        select = _spans(pieces.first[at], np.where(kept, pieces.count[at], 0))
        messages = self._fill(pieces, port)
        sent = messages.send(port.sending(), None if len(select) == messages.count else select)
        port.count_sent(_account(pieces, select, port.link_header, sent, messages.taken))
        return at[lost > 0], lost[lost > 0]

    def _fill(self, pieces: Pieces, port: Attachment) -> Messages:
        """The messages, with the address of the port; they are the same for the next one of its MTU and kind."""
        bare = not port.link_header
        if self._filled is None or self._filled[0] is not pieces or self._filled[1] != bare:
            self._filled = pieces, bare
            self._blocks = headerless(pieces.blocks) if bare else copied(pieces.blocks)
            start, n = ETHERNET_LENGTH * bare, len(self._blocks)
            addresses = strided(self._blocks.ctypes.data + start, ROW.itemsize, n)
            length, each = pieces.length.view(np.uint64), np.ones(n, np.int64)
            self._messages.fill_runs(
                addresses, pieces.header_length - start, pieces.address, length, np.arange(n), each
            )
        if not bare:
            self._blocks["source"] = port.source
        return self._messages


def _spans(first: Positions, count: Positions) -> Positions:
    """first[0], first[0] + 1, ... `count[0]` of them, then those of the next."""
    before = np.cumsum(count) - count
    return np.asarray(np.arange(int(count.sum())) + np.repeat(first - before, count))


def _account(pieces: Pieces, select: Positions, link_header: int, sent: Sent, taken: list[tuple[int, int]]) -> Sent:
    """`sent` with packets and bytes as on the wire; a datagram fails once, however many of its fragments do."""
    gone = np.ones(len(select), np.bool_)
    if sent.failed:
        gone[:] = False
        for start, end in taken:
            gone[start:end] = True
    through, failed = select[gone], select[~gone]
    packets = pieces.several[through]
    octets = pieces.octets[through].sum() + link_header * packets.sum()
    _, one_each = np.unique(pieces.datagram[failed], return_index=True)
    return Sent(int(packets.sum()), int(octets), int(pieces.several[failed[one_each]].sum()), sent.errno)
