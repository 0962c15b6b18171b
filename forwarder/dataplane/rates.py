"""Rate limits of what leaves by a port: of all of it (`rate_limit`), and of each flow in it (`flow_rate_limit`).

Both are token buckets in bits/s of IP bytes (headers included, link headers not), and hold for the egress only: what
comes in by a port is limited where it leaves. A bucket holds BURST seconds of its rate, or LEAST packets of the MTU
if that is more. A frame passes while there is anything left and may overdraw, so that no rate is too low for a large
frame, and the rate holds in the long run. A frame that is dropped costs nothing, neither its flow nor the port.

A batch shares one `now`, so a bucket passes the first frames of it and no other: order is kept, and a cumulative sum
finds the last. A flow is one worker's, so only the limit of a port has to be shared between workers (`ledger`). Pure
functions of arrays, state and time.
"""

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.forwarding import Egress, Mask
from forwarder.dataplane.frame import Columns, Positions
from forwarder.dataplane.ledger import Account

BURST = 0.05
LEAST = 4
EMPTY = 1e-8  # seconds of a bucket's rate that count as none: what floats of a long uptime cannot tell
MOST_BYTES = 65535 + 128 * 28  # bytes that one frame counts at most: the largest packet, headers of 128 segments


class Buckets:
    """Token buckets of one rate, numbered from 0; each is the time until which its rate is used up."""

    def __init__(self, rate: int, mtu: int) -> None:
        """`rate` in bits/s, `mtu` in bytes."""
        self._cost = 8 / rate  # seconds a byte
        self.burst = max(BURST, LEAST * mtu * self._cost)
        self._spent = np.zeros(1)  # a bucket is full in the past, and empty from `burst` seconds ahead of now on
        self._looked = 0.0

    def conforming(self, keys: Positions, sizes: Positions, now: float) -> Mask:
        """Which of n frames, of `sizes` bytes in order, the buckets `keys` let pass; nothing is taken from them."""
        self._reserve(keys)
        spent, empty = np.maximum(self._spent[keys], now), now + (self.burst - EMPTY)
        if spent.max(initial=now) + int(sizes.sum()) * self._cost < empty:  # even if all took from one bucket
            return np.ones(len(keys), np.bool_)
        order = np.argsort(keys, kind="stable")
        passed = np.empty(len(keys), np.bool_)
        passed[order] = spent[order] + _sums_before(keys[order], sizes[order]) * self._cost < empty
        return passed

    def charge(self, keys: Positions, sizes: Positions, now: float) -> None:
        """Take the bytes of frames that passed."""
        self._spent[keys] = np.maximum(self._spent[keys], now)
        np.add.at(self._spent, keys, sizes * self._cost)

    def look(self, account: Account, now: float) -> None:
        """Take from bucket 0 what other workers took since the last look.

        That is at least what would be gone if they had sent it right after that look, and at least what they know. More
        than all may owe, a burst and a frame each, is not believed: it was said under another limit.
        """
        octets, until = account.heard()
        spent = max(float(self._spent[0]), self._looked) + octets * self._cost
        latest = now + account.workers * (self.burst + MOST_BYTES * self._cost)
        self._spent[0], self._looked = min(max(spent, until if until <= latest else 0.0), latest), now

    def tell(self, account: Account, sizes: Positions) -> None:
        """Tell the other workers of frames that bucket 0 was charged for."""
        account.publish(int(sizes.sum()), float(self._spent[0]))

    def _reserve(self, keys: Positions) -> None:
        most = int(keys.max(initial=0))
        if most >= len(self._spent):
            self._spent = np.concatenate((self._spent, np.zeros(2 * most)))


class PortRates:
    """The limits of one port; at least one of them is set."""

    def __init__(self, rate: int | None, flow_rate: int | None, mtu: int, account: Account | None = None) -> None:
        """Rates in bits/s, `mtu` in bytes; `account`: with the workers that share `rate`."""
        self.limits, self._account = (rate, flow_rate, mtu), account
        self._port = Buckets(rate, mtu) if rate else None
        self._flow = Buckets(flow_rate, mtu) if flow_rate else None

    def within(self, chosen: Egress, flows: Positions, sizes: Positions, now: float) -> Egress:
        """What of `chosen` may be sent; `flows` and `sizes`, (k,), are the rows and IP bytes of the outgoing frames."""
        leaving = chosen.whole
        if chosen.fragment.size or chosen.cut.size:
            leaving = np.sort(np.concatenate((chosen.whole, chosen.fragment, chosen.cut)))
        passed = self._pass(flows[leaving], sizes[leaving], now)
        if np.count_nonzero(passed) == len(passed):
            return chosen
        keep = np.zeros(len(flows), np.bool_)
        keep[leaving[passed]] = True
        return chosen._replace(
            whole=chosen.whole[keep[chosen.whole]],
            fragment=chosen.fragment[keep[chosen.fragment]],
            cut=chosen.cut[keep[chosen.cut]],
            limited=leaving[~passed],
        )

    def _pass(self, flows: Positions, sizes: Positions, now: float) -> Mask:
        """Which of the frames pass both limits; only they are charged."""
        passed = np.ones(len(flows), np.bool_)
        port = np.zeros(len(flows), np.int64)
        if self._flow:
            passed = self._flow.conforming(flows, sizes, now)
        if self._port:
            if self._account:
                self._port.look(self._account, now)
            passed[passed] = self._port.conforming(port[passed], sizes[passed], now)
            self._port.charge(port[passed], sizes[passed], now)
            if self._account:
                self._port.tell(self._account, sizes[passed])
        if self._flow:
            self._flow.charge(flows[passed], sizes[passed], now)
        return passed


def ip_bytes(header: Columns, frames: Positions) -> Positions:
    """IP bytes on the wire of each of these frames; a super-frame counts with the headers of all its packets."""
    size = header.total_length[frames]
    if not header.supers.size:
        return size
    total: Positions = size + header.repeated_headers[frames]
    return total


def _sums_before(keys: Positions, sizes: Positions) -> npt.NDArray[np.int64]:
    """For each frame the bytes of those before it that have the same key; equal keys stand together."""
    total = np.cumsum(sizes) - sizes
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return total - np.repeat(total[first], np.diff(first, append=len(keys)))
