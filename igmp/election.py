"""Who queries on one downstream port, and whose values are in force (RFC 9776 section 6.6.2).

Rules of this file: only General Queries decide, the numerically lowest address wins; a winner's values hold from its
query on, ours return when it is gone. Time is kept by the querier, which owns the timers.
"""

from igmp.heard import NOBODY, Heard
from igmp.messages import Query
from igmp.parameters import Parameters

NOT_A_CANDIDATE = 1 << 32               # above every address: any querier wins against it


class Election:
    """The other querier of a port, if one has won."""

    __slots__ = ("_configured", "_taught", "_until", "parameters", "winner")

    def __init__(self, configured: Parameters) -> None:
        self._configured = configured
        self._taught = 0, 0.0                           # robustness and query interval of the winner, 0: not told
        self._until = 0.0                               # until then a higher address does not replace the winner
        self.parameters = configured                    # in force
        self.winner = 0                                 # address of the other querier, 0: none

    # RFC 9776 4.1.6 b, 4.1.7 b, 6.6.2 a
    def hear(self, source: int, query: Query, own: int, now: float) -> bool:
        """A General Query of `source`: whether it wins against our address `own` (0: we do not take part)."""
        if source == 0 or source >= (own or NOT_A_CANDIDATE):
            return False
        if source <= self.winner or not self.winner or now >= self._until:
            self.winner = source
            self._taught = query.robustness, query.interval
            self.configure(self._configured)
            self._until = now + self.parameters.other_querier_present_interval
        return True

    # RFC 9776 8 a
    def configure(self, configured: Parameters) -> None:
        """Our own values are others; what the winner told stays in force (section 4.1.7)."""
        self._configured = configured
        self.parameters = configured.adopt(*self._taught)

    def resume(self, heard: Heard, own: int) -> bool:
        """Go on with the winner that was heard before a restart, if there was one and it wins against `own`."""
        self.winner, self._until = heard.querier, heard.until
        if not self.yields(own):
            self.forget()
            return False
        self._taught = heard.robustness, heard.interval
        self.configure(self._configured)
        return True

    def heard(self, until: float) -> Heard:
        """The winner, who will be gone at `until`."""
        robustness, interval = self._taught
        return Heard(self.winner, until, robustness=robustness, interval=interval) if self.winner else NOBODY

    def yields(self, own: int) -> bool:
        """Whether the other querier stays, now that `own` is our address."""
        return 0 < self.winner < (own or NOT_A_CANDIDATE)

    def forget(self) -> None:
        """The other querier is gone, or we start over."""
        self.winner, self._taught, self.parameters = 0, (0, 0.0), self._configured
