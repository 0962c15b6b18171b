"""Labs in which something is missing: what source and receivers are without a forwarder."""

from bench.arena import Arena
from bench.traffic import Receivers, Source


class Idle(Arena):
    """Receivers get nothing, nor expect to: the source is alone."""

    def _prepare(self) -> None:
        pass


class Fed(Arena):
    """The source is in the router's place and writes to every downstream link: the receivers are alone.

    With a packet socket and segments it hands over what a forwarder at its best would (terms: sender, segments).
    """

    def _source(self) -> Source:
        return Source(self.lab.router, *self.lab.downstreams)


class Direct(Arena):
    """The only receiver is the router's end of the source's link: what the lab itself costs."""

    def _receivers(self) -> Receivers:
        return Receivers([self.lab.router], interface=self.lab.upstream)
