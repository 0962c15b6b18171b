"""Sending to many ports from several threads.

A batch for many ports spends nearly all its time in sendmmsg, which lets other threads run; processors that have
nothing else to do can send to some of the ports. A thread takes the next port when it is through with one, so none
waits long for another, however often it is interrupted. A port is sent to by one thread a batch, and a batch is done
with when all are through: its datagrams stay in order. What a thread writes to, messages and header blocks, it has for
itself: its lane.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LANES = 4
"""On two processors too: a scheduler shares them out by threads, so with two the worker falls behind when a source or
receivers on the same machine want more than there is (docs/performance.md, Overload)."""
EACH = 4
"""Ports a lane that are worth waking its thread for, which costs about as much as a message to one of them."""
WORTH = 1000
"""Datagrams to send, all ports together, that are worth a lane whatever the number of ports: about a millisecond."""


class Fanout:
    """Shares sending between the caller's thread, lane 0, and others where `parallel`."""

    def __init__(self, parallel: bool, each: int = EACH) -> None:
        """`parallel`: there are other processors to send from; `each`: ports a lane at least."""
        self._others = ThreadPoolExecutor(LANES - 1, thread_name_prefix="fanout") if parallel else None
        self._each = each
        self.crowded = True  # whether processors are wanted by others too: few ports are then sent to by one thread

    def share(self, ports: Sequence[T], send: Callable[[int, Iterator[T]], None], work: int = 0) -> None:
        """Call `send(lane, ports still to be sent to)` in every lane; raises what a call raised, after all ended.

        `work`: datagrams to be sent, all ports together.
        """
        rest = iter(ports)  # its next() is atomic
        lanes = len(ports) // self._each
        if not self.crowded:
            lanes = max(lanes, min(work // WORTH, len(ports)))
        if self._others is None or lanes < 2:
            send(0, rest)
            return
        others = [self._others.submit(send, lane, rest) for lane in range(1, min(LANES, lanes))]
        try:
            send(0, rest)
        finally:
            failures = [other.exception() for other in others]
        for failure in filter(None, failures):
            raise failure
