"""Sending to many ports from two threads.

A batch for many ports spends nearly all its time in sendmmsg, which lets other threads run; a second processor that
has nothing else to do can send to half of the ports. Every port is sent to by one thread at a time, so its datagrams
stay in order, and a batch is done with when both are through. What a thread writes to, messages and header blocks, it
has for itself: its lane.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LANES = 2
MANY = 8
"""Ports that are worth waking another thread for, which costs about as much as a message to one of them."""


class Fanout:
    """Splits sending over the caller's thread, lane 0, and one more where `parallel`."""

    def __init__(self, parallel: bool, many: int = MANY) -> None:
        """`parallel`: there is another processor to send from; `many`: ports at least."""
        self._many = many
        self._others = ThreadPoolExecutor(LANES - 1, thread_name_prefix="fanout") if parallel else None

    def split(self, ports: Sequence[T], send: Callable[[int, Sequence[T]], None]) -> None:
        """Call `send(lane, some of the ports)` until all had their turn; raises what a call raised, after all ended."""
        if self._others is None or len(ports) < self._many:
            send(0, ports)
            return
        middle = len(ports) // 2
        other = self._others.submit(send, 1, ports[middle:])
        try:
            send(0, ports[:middle])
        finally:
            other.result()
