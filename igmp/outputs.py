"""What the protocol asks of its shell, and what it tells of itself; frozen values without behaviour."""

from dataclasses import dataclass, field

from igmp.filter import Filter, Mode


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
class Notice:
    """Something the administrator should know, once a minute at most; `address` is who or what it is about.

    Kinds: querier_conflict, a higher address queries too; older_querier and newer_querier, one speaks another `version`
    than we; rare_querier, the elected one asks less often than we believe, so that memberships may end between its
    queries; querier_without_address, somebody queries from 0.0.0.0; own_address, somebody speaks with an address of
    ours; limit_reached, a `group` was refused for the option `limit`; sources_lost, an older querier makes us report a
    group whole; fallback and back, we speak another `version` upstream now, without the sources of `count` groups.
    `missed`: how many like it were not given since the last.
    """

    port: int
    kind: str
    address: int
    group: int = 0
    version: int = 0
    limit: str = ""
    count: int = 0
    missed: int = field(default=0, compare=False)


@dataclass(slots=True)
class Changed:
    """From a querier to its proxy only: what members of a group want is `filter` now."""

    group: int
    filter: Filter


Output = Send | Route | Role | Notice
Event = Send | Role | Notice | Changed


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group of a port; times in seconds from now, None for never; sources ascending."""

    port: int
    group: int
    mode: Mode
    sources: tuple[tuple[int, float | None], ...]       # address, time until it expires
    excluded_sources: tuple[int, ...]
    compatibility: int                                  # 1, 2, 3: oldest host version
    expires: float | None
    uptime: float
    last_reporter: int                                  # 0: nobody
    static: bool = False                                # some of it is configured
    heard: float | None = field(default=None, compare=False)    # seconds since the last report; None: since a restart


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What one host on a downstream port wants of a group: the sources included or excluded, ascending."""

    port: int
    group: int
    host: int                                           # 0: it has no address
    mac: int
    mode: Mode
    sources: tuple[int, ...]
    expires: float                                      # seconds from now


@dataclass(frozen=True, slots=True)
class RefusalStatus:
    """What one host on a downstream port was refused of a group, as of `HostStatus`; times in seconds ago."""

    port: int
    group: int
    host: int                                           # 0: it has no address
    mac: int
    mode: Mode
    sources: tuple[int, ...]                            # 16 at most
    reason: str                                         # deny, ttl, max_groups: see `refused` and `objections`
    rule: str                                           # the entry or key that refused, such as "deny 239.1.0.0/16"
    since: float
    last: float
    count: int


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """One group as reported on an upstream port."""

    port: int
    group: int
    mode: Mode
    sources: tuple[int, ...]
    version: int                                        # IGMP version it is reported in
    origins: tuple[int, ...] = ()                       # downstream ports that want some of it
    static: bool = False                                # configuration wants some of it on this port itself


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """The last query that was heard on an upstream port; `age` in seconds."""

    port: int
    source: int                                         # 0: it has no address
    version: int
    age: float


@dataclass(frozen=True, slots=True)
class QuerierStatus:
    """The querier of a downstream port; address 0 where none is known."""

    querier: bool                                       # it is us
    address: int
    igmp_version: int                                   # of our queries
