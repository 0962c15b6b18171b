"""The verdict on every frame: its flow's decision and the checks that only a frame can fail.

The order (`verdicts`; the first that fails names the drop): malformed, truncated, IGMP (never data: reserved), the
flow's refusal for its source or group, ttl_expired (TTL 0 and 1, before any threshold), ttl_threshold of the
ingress, and last that nobody wants the flow or that another upstream has it. Then each egress judges by itself
(`egress`): its bit in the flow's bitmap, its threshold against the TTL as received, its MTU. No ICMP error answers
multicast (RFC 1122 section 3.2.2).

Where nothing is odd about a batch, a verdict is the flow's and an egress costs a few integer comparisons.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import DONT_FRAGMENT, IGMP, NONE, UDP_LENGTH, Columns, Positions
from forwarder.packet.tpacket import VIRTIO_NET_HDR_GSO_UDP_L4
from forwarder.state.reasons import Reason

LOWEST_TTL = 2
"""What a packet must have to leave with a TTL of 1 (RFC 1112 section 6.1)."""

Reasons: TypeAlias = npt.NDArray[np.uint8]
Bitmaps: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def verdicts(columns: Columns, flow_reason: Reasons, threshold: int = 1) -> Reasons:
    """Reason of each of n frames (0 = FORWARD) from its flow's; `threshold` is the ingress port's minimal TTL."""
    odd = columns.ttl < max(threshold, LOWEST_TTL)
    odd |= columns.rows["protocol"] == IGMP
    if columns.defective:
        odd |= columns.defect != 0
    if not np.count_nonzero(odd):
        return flow_reason
    at = np.flatnonzero(odd)
    reasons = flow_reason.copy()
    reasons[at] = _odd_verdicts(columns, at, flow_reason[at], threshold)
    return reasons


def _odd_verdicts(columns: Columns, at: Positions, flow: Reasons, threshold: int) -> Reasons:
    defect, ttl = columns.defect[at], columns.ttl[at]
    refused = (flow != Reason.FORWARD) & (flow < Reason.RATE_LIMITED)
    checks: list[tuple[Mask, Reasons | int]] = [
        (defect != 0, defect),
        (columns.rows["protocol"][at] == IGMP, Reason.RESERVED),
        (refused, flow),
        (ttl < LOWEST_TTL, Reason.TTL_EXPIRED),
        (ttl < threshold, Reason.TTL_THRESHOLD),
    ]
    result = flow
    for failed, reason in reversed(checks):
        result = np.where(failed, reason, result).astype(np.uint8)
    return result


@dataclass(slots=True)
class Outgoing:
    """k frames on their way out (or runs of like frames, judged by their first), the same for every egress."""

    ports: Bitmaps  # (k, words)
    ttl: npt.NDArray[np.uint8]  # as received
    length: Positions  # of the longest packet on the wire: super-frames count as their segments
    dont_fragment: Mask
    udp_l4: Mask | None  # super-frames that are cut where they cannot go whole; None where there are none
    all: Positions  # 0..k-1
    every: int  # ports that all of them take
    some: int  # ports that any of them takes
    least_ttl: int
    longest: int


class Egress(NamedTuple):
    """Positions 0..k-1, ascending, of what one port does with the outgoing frames; `whole` are sent as they are."""

    whole: Positions = NONE
    fragment: Positions = NONE  # longer than the MTU, DF clear
    cut: Positions = NONE  # super-frames to be cut; datagrams still too long are fragmented or dropped
    mtu: Positions = NONE  # dropped: longer than the MTU, DF set
    threshold: Positions = NONE  # dropped: TTL below the port's threshold
    limited: Positions = NONE  # dropped: over a rate limit of the port (`rates`)


NOTHING = Egress()


def outgoing(columns: Columns, frames: Positions, ports: Bitmaps) -> Outgoing:
    """What all egress ports need to know of the k >= 1 `frames` of a batch, whose flows go to `ports` (k, words)."""
    length, udp_l4 = columns.total_length[frames], None
    if columns.supers.size:
        length, udp_l4 = _segment_lengths(columns, frames, length)
    ttl = columns.ttl[frames]
    return Outgoing(
        ports=ports,
        ttl=ttl,
        length=length,
        dont_fragment=columns.rows["fragment"][frames] & DONT_FRAGMENT != 0,
        udp_l4=udp_l4,
        all=np.arange(len(frames)),
        every=_join(np.bitwise_and.reduce(ports, axis=0)),
        some=_join(np.bitwise_or.reduce(ports, axis=0)),
        least_ttl=int(ttl.min()),
        longest=int(length.max()),
    )


def egress(frames: Outgoing, port: int, threshold: int, mtu: int, segmentation: bool = True) -> Egress:
    """What `port` does with each frame; without `segmentation` the kernel takes no UDP_L4 super-frames (before 6.2)."""
    if not frames.some >> port & 1:
        return NOTHING
    plain = frames.least_ttl >= threshold and frames.longest <= mtu and (segmentation or frames.udp_l4 is None)
    if plain and frames.every >> port & 1:
        return Egress(whole=frames.all)
    mine = (frames.ports[:, port >> 6] >> np.uint64(port & 63) & np.uint64(1)).astype(np.bool_)
    if plain:
        return Egress(whole=np.flatnonzero(mine))
    return _sort_out(frames, mine, threshold, mtu, segmentation)


def _sort_out(frames: Outgoing, mine: Mask, threshold: int, mtu: int, segmentation: bool) -> Egress:
    passed = mine & (frames.ttl >= threshold)
    fits = frames.length <= mtu
    dropped = passed & ~fits & frames.dont_fragment
    cut = np.zeros_like(passed)
    if frames.udp_l4 is not None:  # the last of its datagrams may fit where the others do not
        cut = frames.udp_l4 & (passed & ~fits if segmentation else passed)
        dropped &= ~cut
    slow = passed & ~fits & ~dropped
    return Egress(
        whole=np.flatnonzero(passed & fits & ~cut),
        fragment=np.flatnonzero(slow & ~cut),
        cut=np.flatnonzero(cut),
        mtu=np.flatnonzero(dropped),
        threshold=np.flatnonzero(mine & ~passed),
    )


def _segment_lengths(columns: Columns, frames: Positions, length: Positions) -> tuple[Positions, Mask | None]:
    """`length` with that of their longest segment for super-frames, and which are UDP_L4."""
    kind = columns.rows["gso_type"][frames]
    if not kind.any():
        return length, None
    segment = columns.header_length[frames] + UDP_LENGTH + columns.rows["gso_size"][frames]
    return np.where(kind != 0, np.minimum(segment, length), length), kind == VIRTIO_NET_HDR_GSO_UDP_L4


def _join(words: npt.NDArray[np.uint64]) -> int:
    """One integer of the words of a bitmap."""
    return int.from_bytes(words.astype("<u8").tobytes(), "little")
