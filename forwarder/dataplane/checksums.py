"""Whether UDP checksums hold, added up where the datagrams lie in the ring; for links that did not look. Pure.

Datagrams of one length at equal distances, as a steady stream leaves them in a ring, cost a tenth of a microsecond
each. Others would cost more than the knowledge is worth: they are not known to be valid, hence sent one by one.
"""

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from forwarder.dataplane.frame import IP_LENGTH, UDP, Positions
from forwarder.dataplane.ring import Batch

WORTH_A_VECTOR = 4
_WHOLE = 65535.0
_UNKNOWN = -1.0
_TAILS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], "<u4")


def valid_checksums(
    batch: Batch, frames: Positions, length: Positions, pairs: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Whether the UDP checksums of n `frames` of a batch are known to hold.

    `length` (n,) is the total length of each packet, `pairs` (n,) source << 32 | group; their IP headers are sound and
    without options.
    """
    net = batch.net[frames]
    order = np.argsort(net)
    net, ordered = net[order], length[order]
    sums = np.full(len(net), _UNKNOWN)
    for start, end in _regular(net, ordered):
        sums[start:end] = _sums(batch.words.view("<u4"), net[start:end], int(ordered[start]))
    ends = (pairs[order] >> np.uint64(32)) + (pairs[order] & np.uint64(0xFFFF_FFFF))
    pseudo_header = ends.astype(np.float64) + (ordered - IP_LENGTH + UDP)
    quotient = (sums + pseudo_header * 256.0) / _WHOLE  # bytes are added swapped, so everything else must be
    valid = np.zeros(len(net), np.bool_)
    valid[order] = (sums != _UNKNOWN) & np.equal(quotient, np.rint(quotient))
    return valid


def _regular(net: Positions, length: Positions) -> list[tuple[int, int]]:
    """Ranges of frames, ascending by `net`, of one length and at equal distances; they may share their ends."""
    step = np.where(length[1:] == length[:-1], np.diff(net), -1)
    if len(step) < WORTH_A_VECTOR - 1:
        return []
    starts = np.concatenate(((0,), np.flatnonzero(np.diff(step)) + 1))
    ends = np.append(starts[1:], len(step))
    enough = (ends - starts >= WORTH_A_VECTOR - 1) & (step[starts] > 0)
    return [(start, end + 1) for start, end in zip(starts[enough].tolist(), ends[enough].tolist(), strict=True)]


def _sums(halves: npt.NDArray[np.uint32], net: Positions, length: int) -> npt.NDArray[np.float64]:
    """Sum of the little-endian 32-bit words behind each IP header, the last one filled up with zeros."""
    first, count = (int(net[0]) + IP_LENGTH) // 4, (length - IP_LENGTH) // 4
    distance = int(net[1] - net[0])
    words = as_strided(halves[first:], (len(net), count), (distance, 4), writeable=False)
    total: npt.NDArray[np.float64] = words.sum(axis=1, dtype=np.uint64).astype(np.float64)
    if rest := (length - IP_LENGTH) % 4:
        total += halves[(net + IP_LENGTH) // 4 + count] & _TAILS[rest]
    return total
