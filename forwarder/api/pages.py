"""Which part of a long answer is asked for."""

from dataclasses import dataclass

from forwarder.state.settings import covers
from igmp.link import Network


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a noun are asked for: `limit` of them from `offset` on, of those that all filters let through.

    A filter is of several that count as one: `groups`, `hosts` and `sources` are networks, `interfaces` names or
    wildcards; empty ones let all through. `problems`: only rows that have one. `key`: in which order, `descending` or
    not; None: as they come. `worst`: flows that are kept from somebody first, of the same kind those of most packets.
    """

    offset: int = 0
    limit: int = 1000
    groups: tuple[Network, ...] = ()
    worst: bool = False
    interfaces: tuple[str, ...] = ()
    hosts: tuple[Network, ...] = ()
    sources: tuple[Network, ...] = ()
    problems: bool = False
    key: str | None = None
    descending: bool = False

    def means(self, interface: str | None) -> bool:
        """Whether one of `interfaces` is this one."""
        return interface is not None and any(covers(each, interface) for each in self.interfaces)
