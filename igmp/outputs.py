"""What the protocol asks of its shell, and what it tells of itself; frozen values without behaviour."""

from dataclasses import dataclass

from igmp.filter import Mode


@dataclass(frozen=True, slots=True)
class Send:
    """Send a complete IPv4 packet out of a port; the shell adds the link header."""

    port: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """Who wants a group: bit p of `ports` is port p; source None is any source without a row of its own.

    An (S, G) row is complete by itself; one of no ports blocks its source. `present` False deletes the row.
    """

    group: int
    source: int | None
    ports: int
    present: bool = True


@dataclass(frozen=True, slots=True)
class Role:
    """Whether we are the querier of a downstream port, and the querier's address (0: none known)."""

    port: int
    querier: bool
    address: int


@dataclass(frozen=True, slots=True)
class Changed:
    """From a querier to its proxy only: the source filter of a group is another one now."""

    group: int


Output = Send | Route | Role
Event = Send | Role | Changed


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group of a downstream port; times in seconds from now, sources ascending."""

    port: int
    group: int
    mode: Mode
    sources: tuple[tuple[int, float], ...]              # address, time until it expires
    excluded_sources: tuple[int, ...]
    compatibility: int                                  # 1, 2, 3: oldest host version
    expires: float
    uptime: float
    last_reporter: int


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """One group as reported on an upstream port."""

    port: int
    group: int
    mode: Mode
    sources: tuple[int, ...]
    version: int                                        # IGMP version it is reported in


@dataclass(frozen=True, slots=True)
class QuerierStatus:
    """The querier of a downstream port; address 0 where none is known."""

    querier: bool                                       # it is us
    address: int
    igmp_version: int                                   # of our queries
