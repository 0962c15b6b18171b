"""A batch that takes longer than others can wait, in portions that are carried one by one.

Many interleaved flows have to be taken from a ring in numbers, or there are no runs to gather: with 1,000 flows a run
of 16 datagrams takes 16,384 frames, which four ports are sent in some 110 ms. So what is lent stays lent until its last
portion was carried, and between two of them other rings, news and the heartbeat have their turn. A portion is a batch
like any other, decided by what holds when its turn comes. It has whole flows, or its runs would be no longer than those
of a small batch: frames are dealt out by a hash of their flow, in which nobody outside can aim at a portion. Where a
portion ends within a flow, the rest of that is in the next one, in order. The hash is linear, and portions leave in its
order, so its key is for nothing else.
"""

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.pair_index import Key
from forwarder.dataplane.ring import Batch

SOURCE, GROUP = 3, 4  # 32-bit words of an IPv4 header
_BUCKET = np.uint64(48)  # the highest 16 bits of a product: numpy sorts these by counting


def portions(batch: Batch, most: int, key: Key) -> list[Batch]:
    """The n frames of a batch in portions of `most` or fewer, all about as large; each in order of arrival."""
    count = max(-(-len(batch.frame) // most), 1)
    order = np.argsort(_buckets(batch, key), kind="stable")
    return [batch.only(np.sort(chosen)) for chosen in np.array_split(order, count)]


def _buckets(batch: Batch, key: Key) -> npt.NDArray[np.uint16]:
    """A hash of the flow of each frame (multiply-shift of both addresses)."""
    halves, at = batch.words.view(np.uint32), batch.net >> 2
    source, group = (halves.take(at + word, mode="clip").astype(np.uint64) for word in (SOURCE, GROUP))
    return (source * np.uint64(key[0]) + group * np.uint64(key[1]) >> _BUCKET).astype(np.uint16)
