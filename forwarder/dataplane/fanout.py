"""Sending to many ports from two threads.

A batch for many ports spends nearly all its time in sendmmsg, which lets other threads run; a second processor that
has nothing else to do can send to some of the ports. A thread takes the next port when it is through with one, so
neither waits long for the other, however often it is interrupted. A port is sent to by one thread a batch, and a batch
is done with when both are through: its datagrams stay in order. What a thread writes to, messages and header blocks,
it has for itself: its lane.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LANES = 2
MANY = 8
"""Ports that are worth waking another thread for, which costs about as much as a message to one of them."""


class Fanout:
    """Shares sending between the caller's thread, lane 0, and one more where `parallel`."""

    def __init__(self, parallel: bool, many: int = MANY) -> None:
        """`parallel`: there is another processor to send from; `many`: ports at least."""
        self._many = many
        self._others = ThreadPoolExecutor(LANES - 1, thread_name_prefix="fanout") if parallel else None

    def share(self, ports: Sequence[T], send: Callable[[int, Iterator[T]], None]) -> None:
        """Call `send(lane, ports still to be sent to)` in every lane; raises what a call raised, after all ended."""
        rest = iter(ports)  # its next() is atomic
        if self._others is None or len(ports) < self._many:
            send(0, rest)
            return
        other = self._others.submit(send, 1, rest)
        try:
            send(0, rest)
        finally:
            other.result()
