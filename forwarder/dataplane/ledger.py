"""What several workers tell each other of a port's rate limit, so that it holds for all of them together. Pure.

Each worker has a token bucket of its own for the port, and says in two words of its row in its segment what it took:
CHARGED, the bytes that it sent under the limit, and USED_UNTIL, until when (monotonic ns) the rate is used up by all
that it knew of. Both are needed. The time alone would do for workers that look one after the other, but of two that
look at the same moment only one would count; bytes make up for that. Bytes alone do not say when they were sent: who
has not looked for a second cannot tell a burst that is just over from one that was paid for long ago.

Nothing is locked: a worker that is about to send sees what the others have published until then. What they may send
too much in between, a burst each at most, is charged to all of them afterwards.
"""

from collections.abc import Sequence

from forwarder.state.flow_columns import Words
from forwarder.state.worker_segment import CHARGED, USED_UNTIL

NANOSECONDS = 1e9


class Account:
    """One port's words; a successor of this worker goes on with what it finds in its own."""

    def __init__(self, own: Words, others: Sequence[Words]) -> None:
        """Rows of the port (BLOCK,): in this worker's segment, which is written, and in those of the other workers."""
        self._own, self._others = own.data, [row.data for row in others]
        self._seen = [row[CHARGED] for row in self._others]

    @property
    def workers(self) -> int:
        """How many share the limit."""
        return 1 + len(self._others)

    def heard(self) -> tuple[int, float]:
        """Bytes that the others charged since the last call, and until when the rate is used up (monotonic seconds).

        A count that became lower has started over, for another owner of the port's index: it begins with nothing.
        """
        charged = [row[CHARGED] for row in self._others]
        octets = sum(max(after - before, 0) for before, after in zip(self._seen, charged, strict=True))
        self._seen = charged
        return octets, max(row[USED_UNTIL] for row in (self._own, *self._others)) / NANOSECONDS

    def publish(self, octets: int, until: float) -> None:
        """Tell the others that `octets` more were charged, and `until` when the rate is used up."""
        self._own[CHARGED] += octets
        self._own[USED_UNTIL] = int(until * NANOSECONDS)


class Ledger:
    """The accounts of all ports, by index."""

    def __init__(self, own: Words, others: Sequence[Words]) -> None:
        """`ports`, (max_ports, BLOCK), of this worker's segment and of the other workers'."""
        self._own, self._others = own, others

    def account(self, port: int) -> Account | None:
        """A port's account; None where no other worker shares its limit."""
        return Account(self._own[port], [ports[port] for ports in self._others]) if self._others else None
