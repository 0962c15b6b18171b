"""Which part of a long answer is asked for."""

from dataclasses import dataclass

from igmp.link import Network


@dataclass(frozen=True, slots=True)
class Page:
    """Which flows are asked for: `limit` of them from `offset` on, of the groups in `groups` (None: all).

    `worst`: those that are kept from somebody first, and of the same kind those of most packets.
    """

    offset: int = 0
    limit: int = 1000
    groups: Network | None = None
    worst: bool = False
