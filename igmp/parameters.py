"""IGMP's tunable values and the intervals that follow from them (RFC 9776 section 8).

Rules of this file: everything is frozen; times are seconds; a value learned from another querier makes a new
`Parameters`, so timers that run keep theirs.
"""

from dataclasses import dataclass, field, replace
from operator import attrgetter, gt
from typing import Literal

from igmp.access import OPEN, AccessList
from igmp.validation import Rules

UPSTREAM = "upstream"
DOWNSTREAM = "downstream"
HOST = "host"                           # nothing learned is told there, nobody is asked
RULES = Rules()
LIMITS = ("max_groups", "max_sources", "max_port_sources", "max_hosts")
_limits_of = attrgetter(*LIMITS)
LONGEST_V2_RESPONSE = 25.5              # seconds: a version 2 query has 8 bits of tenths


@dataclass(frozen=True, slots=True)
class Parameters:
    """Values of one port; None follows from the others; times in seconds (RFC 9776 section 8)."""

    # RFC 9776 8.1 c
    robustness: int = 2
    # RFC 9776 8.2 a
    query_interval: float = 125.0
    max_query_interval: float = 600.0                   # of what another querier says, where ours is not longer
    # RFC 9776 8.3 a
    query_response_interval: float = 10.0
    # RFC 9776 8.8 a
    last_member_query_interval: float = 1.0
    last_member_query_count: int | None = None          # follows robustness
    startup_query_interval: float | None = None         # a quarter of the query interval
    startup_query_count: int | None = None              # follows robustness
    # RFC 9776 8.11 a
    unsolicited_report_interval: float = 1.0            # version 3
    unsolicited_report_interval_v2: float = 10.0        # versions 1 and 2
    specific_query_burst: int = 1000                    # sent at once: 60 kB, 5 ms of a link of 100 Mbit/s
    specific_query_rate: float = 1000.0                 # a second after that; leaves wait for their turn
    older_querier_timeout: float = 400.0                # RFC 2236 section 8.11, for version 1 and 2 queriers
    report_interval: float = 0.0                        # upstream all is said again so often, unasked; 0: never
    linger: float = 0.0                                 # an upstream leave waits so long for another join
    gmi_rfc3376: bool = False                           # one response interval in the group membership interval
    rfc9776: bool = False                               # older querier timeout after the newer standard

    # RFC 9776 8.4 a
    @property
    def group_membership_interval(self) -> float:
        """After this long without a report a membership ends (section 8.4; RFC 3376 has one response interval)."""
        responses = 1 if self.gmi_rfc3376 else 2
        return self.robustness * self.query_interval + responses * self.query_response_interval

    # RFC 9776 8.5 a
    @property
    def other_querier_present_interval(self) -> float:
        """After this long without its General Query an elected querier is gone (section 8.5)."""
        return self.robustness * self.query_interval + self.query_response_interval / 2

    # RFC 9776 8.13 a
    @property
    def older_host_present_interval(self) -> float:
        """After this long without a version 1 or 2 report a group has no such host (section 8.13)."""
        return self.robustness * self.query_interval + self.query_response_interval

    # RFC 9776 8.6 a
    @property
    def startup_interval(self) -> float:
        """Gap between General Queries at startup (section 8.6)."""
        return self.query_interval / 4 if self.startup_query_interval is None else self.startup_query_interval

    # RFC 9776 8.7 a
    @property
    def startup_queries(self) -> int:
        """General Queries sent at startup (section 8.7)."""
        return self.robustness if self.startup_query_count is None else self.startup_query_count

    # RFC 9776 8.9 a
    @property
    def last_member_queries(self) -> int:
        """Transmissions of each specific query (section 8.9)."""
        return self.robustness if self.last_member_query_count is None else self.last_member_query_count

    # RFC 9776 8.10 a
    @property
    def last_member_query_time(self) -> float:
        """The leave latency (section 8.10)."""
        return self.last_member_query_interval * self.last_member_queries

    # RFC 9776 8.12 a
    def older_version_querier_present(self, max_response_time: float) -> float:
        """How long a host keeps an older version after a query that allowed `max_response_time` to answer."""
        if not self.rfc9776:
            return self.older_querier_timeout
        return self.robustness * self.query_interval + 10 * max_response_time       # section 8.12

    # RFC 9776 4.1.6 b, 4.1.7 b
    def adopt(self, robustness: int, query_interval: float) -> "Parameters":
        """These values with what a querier told; a zero keeps our own (sections 4.1.6 and 4.1.7).

        One forged query could say 31744 s, and keep us silent and what has gone alive for days.
        """
        if not robustness and not query_interval:
            return self
        interval = min(query_interval, self.longest_query_interval)
        return replace(self, robustness=robustness or self.robustness, query_interval=interval or self.query_interval)

    @property
    def longest_query_interval(self) -> float:
        """What another querier may make of ours at most."""
        return max(self.max_query_interval, self.query_interval)

    # RFC 9776 8.1 a
    def check(self, version: int = 3) -> None:
        """Raise ValueError, naming the field, for values that cannot work with queries of `version`."""
        for name in ("robustness", "query_interval", "max_query_interval", "query_response_interval",
                     "last_member_query_interval", "last_member_query_count", "startup_query_interval",
                     "startup_query_count", "unsolicited_report_interval", "unsolicited_report_interval_v2",
                     "older_querier_timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        for name in ("specific_query_burst", "specific_query_rate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("report_interval", "linger"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        # RFC 9776 8.3 b
        if self.query_response_interval >= self.query_interval:
            raise ValueError("query_response_interval must be below query_interval")
        if version == 2 and max(self.query_response_interval, self.last_member_query_interval) > LONGEST_V2_RESPONSE:
            raise ValueError(f"version 2 queries cannot allow more than {LONGEST_V2_RESPONSE} s to answer")


@dataclass(frozen=True, slots=True)
class PortOptions:
    """What the configuration says of one port."""

    # RFC 4605 3 a
    role: Literal["upstream", "downstream", "host"]
    parameters: Parameters = field(default_factory=Parameters)
    # RFC 9776 7.3.1 b
    igmp_version: int | None = None                     # 1, 2, 3; None: 3 downstream, fallback upstream
    querier: bool = True                                # False: never query on this port
    querier_address: int | None = None                  # source of queries where the port has no address
    max_groups: int = 4096                              # a neighbour can make us keep no more than this
    max_sources: int = 1024                             # of one group; RFC 9776 asks for at least 64
    max_port_sources: int = 65536                       # of all groups: together those two are 4 million
    max_hosts: int = 512                                # tracked in one group
    quick_leave: bool = False                           # who leaves last ends a group unasked, where tracking allows
    quick_leave_untracked: bool = False                 # whoever leaves ends it: for one subscriber on the port
    access: AccessList = OPEN
    contribution: AccessList = OPEN                     # downstream: what of the memberships is reported upstream
    rules: Rules = RULES                                # how strict it is with what it receives

    def widens(self, before: "PortOptions") -> bool:
        """Whether members may be taken that `before` refused: they are to be asked, or they would wait to be."""
        limits = map(gt, _limits_of(self), _limits_of(before))
        return any(limits) or self.access.widens(before.access) or self.rules.widens(before.rules)

    def check(self) -> None:
        """Raise ValueError, naming the field, for options that cannot work."""
        if self.role not in (UPSTREAM, DOWNSTREAM, HOST):
            raise ValueError(f"role must be upstream, downstream or host, not {self.role}")
        if self.igmp_version not in (None, 1, 2, 3):
            raise ValueError(f"igmp_version must be 1, 2 or 3, not {self.igmp_version}")
        for name in LIMITS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        self.parameters.check(self.igmp_version or 3)
