"""What was refused: why in words, what helps, and when it is asked for again. Pure.

The first tries follow soon, later ones less and less often. A reason is news once, and so is its end.
"""

import errno
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from forwarder.packet.packet_socket import PortError

PORT_RETRY = 1.0  # seconds until the first retry
LONGEST_RETRY = 30.0  # the same of later ones: each costs the kernel a search for memory

HELP = {
    errno.ENOMEM: "free memory, or lower ring_memory in [dataplane]",
    errno.EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE= in a unit)",
    errno.ENFILE: "raise fs.file-max",
    errno.EPERM: "grant CAP_NET_RAW",
    errno.EACCES: "let what confines mcfwd (seccomp, SELinux, AppArmor) allow it",
}
FILTER_HELP = "raise net.core.optmem_max"  # which bounds a socket's filters (sk_attach_filter, net/core/filter.c)
NO_ROOM = "receive ring: nothing of ring_memory is left for one; what helps: raise it in [dataplane], and a restart"
"""A restart divides the memory anew; until then others keep what they have, and [dataplane] is what it was."""

K = TypeVar("K", bound=Hashable)


def words_of(error: Exception) -> str:
    """What was refused, and what helps where that is known."""
    if not isinstance(error, PortError):
        return f"could not be opened: {error!r}"
    of_filter = (error.operation, error.errno) == ("SO_ATTACH_FILTER", errno.ENOMEM)
    return f"{error.words}; what helps: {FILTER_HELP}" if of_filter else remedied(error.words, error.errno)


def remedied(words: str, number: int | None) -> str:
    """`words`, and what helps against an errno where that is known."""
    remedy = HELP.get(number or 0)
    return f"{words}; what helps: {remedy}" if remedy else words


def of_memory(error: Exception) -> bool:
    """Whether it was the memory of a ring that was refused, so that a smaller one may be had."""
    return isinstance(error, PortError) and (error.operation, error.errno) == ("PACKET_RX_RING", errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`words`, how often in a row, and when it is tried again (monotonic seconds)."""

    words: str
    times: int
    again: float


class Refusals(Generic[K]):
    """By whatever was refused."""

    def __init__(self) -> None:
        self._refusals: dict[K, Refusal] = {}

    def __len__(self) -> int:
        return len(self._refusals)

    def words(self, key: K) -> str | None:
        """Why it was refused last; None when it was not."""
        refusal = self._refusals.get(key)
        return None if refusal is None else refusal.words

    def refused(self, key: K, words: str, now: float) -> bool:
        """It was refused; whether that is news."""
        former = self._refusals.get(key, Refusal("", 0, now))
        # from the 6th on it is LONGEST_RETRY; what is raised to a power stays a number however many there were
        pause = min(LONGEST_RETRY, PORT_RETRY * 2.0 ** min(former.times, 16))
        self._refusals[key] = Refusal(words, former.times + 1, now + pause)
        return words != former.words

    def granted(self, key: K) -> bool:
        """It was not refused; whether that is news."""
        return self._refusals.pop(key, None) is not None

    def due(self, key: K, now: float) -> bool:
        """Whether it may be tried now."""
        refusal = self._refusals.get(key)
        return refusal is None or now >= refusal.again

    def any_due(self, now: float) -> bool:
        """Whether something that was refused may be tried again."""
        return any(now >= refusal.again for refusal in self._refusals.values())

    def hurry(self, words: str, at: float) -> None:
        """Whatever was refused with these words is tried again at this time, unless sooner: the reason may be gone."""
        for key, refusal in self._refusals.items():
            if refusal.words == words:
                self._refusals[key] = replace(refusal, times=0, again=min(refusal.again, at))

    def keep(self, keys: set[K]) -> None:
        """Forget all others."""
        self._refusals = {key: refusal for key, refusal in self._refusals.items() if key in keys}
