"""The highest rate without loss, by bisection over trials. Pure: the trial is a function."""

from collections.abc import Callable
from dataclasses import dataclass

FLOOR = 100.0  # datagrams a second; below it nothing is looked for


@dataclass(frozen=True)
class Trial:
    """One trial: what was asked, what the sender really did, and whether every receiver got every datagram.

    `backlog`: seconds from the last datagram sent to the last received; `cores`: busy cores of the whole machine.
    """

    asked: float
    offered: float
    lossless: bool
    cores: float = 0.0
    backlog: float = 0.0
    note: str = ""

    @property
    def sender_limited(self) -> bool:
        """The sender could not follow: faster trials would be the same one."""
        return self.offered < 0.97 * self.asked


def highest_lossless(
    trial: Callable[[float], Trial], start: float, ceiling: float, resolution: float = 0.03, step: float = 2.0
) -> Trial | None:
    """The best lossless trial; None when nothing above FLOOR passes without loss.

    From `start` upwards or downwards by factors of `step`, each further one larger, until the limit lies between two
    rates or the sender is at its end; then bisects to a relative `resolution`. A rate that fails, or that the sender
    does not reach, is tried once more, for all contestants alike: a hiccup of the machine is not a forwarder's limit.
    """
    best: Trial | None = None
    low, high, rate, factor = 0.0, 0.0, min(start, ceiling), step
    while True:
        result = _twice(trial, rate)
        if result.lossless:
            best = result if best is None or result.offered > best.offered else best
            low = rate
            if result.sender_limited or rate >= ceiling:
                return best
        else:
            high = min(rate, result.offered)
        if (high <= FLOOR and high) or (low and high and high - low <= resolution * high):
            return best
        if low and high:
            rate = (low + high) / 2
        else:
            rate = min(rate * factor, ceiling) if low else high / factor
            factor = min(factor * factor, 2.0)


def _twice(trial: Callable[[float], Trial], rate: float) -> Trial:
    first = trial(rate)
    if first.lossless and not first.sender_limited:
        return first
    return max(first, trial(rate), key=lambda result: (result.lossless, result.offered))
