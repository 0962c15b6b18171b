"""A contestant whose upstream link gathers what it receives (bench.offload)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import offload
from bench.contestants.base import Contestant, Running
from forwarder.lab.topology import Lab


@dataclass(frozen=True)
class Gathering:
    """As `inner`, with receive offload; its name ends with -gro."""

    inner: Contestant

    @property
    def name(self) -> str:
        """As in results."""
        return f"{self.inner.name}-gro"

    @property
    def exclusive(self) -> bool:
        """As it is."""
        return self.inner.exclusive

    @property
    def speaks_igmp(self) -> bool:
        """As it is."""
        return self.inner.speaks_igmp

    def obstacle(self, ports: int, groups: int) -> str:
        """Also that the link cannot be told."""
        return self.inner.obstacle(ports, groups) or offload.obstacle()

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Running]:
        """Told before the contestant starts."""
        offload.merge(lab.router, lab.upstream)
        with self.inner.start(lab, groups) as running:
            yield running
