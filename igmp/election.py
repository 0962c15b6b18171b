"""Who queries on one downstream port, and whose values are in force (RFC 9776 section 6.6.2).

Rules of this file: only General Queries decide, the numerically lowest address wins; a winner's values hold from its
query on, ours return when it is gone. Time is kept by the querier, which owns the timers.
"""

from igmp.messages import Query
from igmp.parameters import Parameters

NOT_A_CANDIDATE = 1 << 32               # above every address: any querier wins against it


class Election:
    """The other querier of a port, if one has won."""

    __slots__ = ("_configured", "_until", "parameters", "winner")

    def __init__(self, configured: Parameters) -> None:
        self._configured = configured
        self._until = 0.0                               # until then a higher address does not replace the winner
        self.parameters = configured                    # in force
        self.winner = 0                                 # address of the other querier, 0: none

    def hear(self, source: int, query: Query, own: int, now: float) -> bool:
        """A General Query of `source`: whether it wins against our address `own` (0: we do not take part)."""
        if source == 0 or source >= (own or NOT_A_CANDIDATE):
            return False
        if source <= self.winner or not self.winner or now >= self._until:
            self.winner = source
            self.parameters = self._configured.adopt(query.robustness, query.interval)
            self._until = now + self.parameters.other_querier_present_interval
        return True

    def forget(self) -> None:
        """The other querier is gone, or we start over."""
        self.winner, self.parameters = 0, self._configured
