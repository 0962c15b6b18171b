"""Groups, hosts and refused joins as people see them; times in seconds from now, or ago.

Rules of this file: looks and does not touch; what is gone through one by one may change meanwhile.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from igmp.filter import Mode
from igmp.membership import Memberships
from igmp.outputs import GroupStatus, HostStatus, RefusalStatus
from igmp.refused import RefusedJoin
from igmp.static import Static
from igmp.tracking import Interest


def learned_group(port: int, members: Memberships, number: int, now: float) -> GroupStatus | None:
    """A group of a downstream port; None without members."""
    group = members.get(number)
    if group is None:
        return None
    excluding = group.filter.mode is Mode.EXCLUDE
    ends = group.timer if excluding else max(group.timers.values())
    return GroupStatus(
        port=port,
        group=number,
        mode=group.filter.mode,
        sources=tuple((source, until - now) for source, until in sorted(group.timers.items())),
        excluded_sources=tuple(sorted(group.filter.sources)) if excluding else (),
        compatibility=members.compatibility(group, now),
        expires=ends - now,
        uptime=now - group.since,
        last_reporter=group.reporter,
        heard=now - group.heard if group.heard > -math.inf else None,
    )


def static_group(static: Static, port: int, group: int, version: int, now: float) -> GroupStatus:
    """A group that nobody but the configuration wants, as people see it."""
    including = static.filter.mode is Mode.INCLUDE
    return GroupStatus(
        port=port,
        group=group,
        mode=static.filter.mode,
        sources=tuple((source, None) for source in sorted(static.filter.sources)) if including else (),
        excluded_sources=(),
        compatibility=version,
        expires=None,
        uptime=now - static.since,
        last_reporter=0,
        static=True,
    )


def joined(learned: GroupStatus, static: Static) -> GroupStatus:
    """A group that both members and the configuration want."""
    if static.filter.mode is Mode.EXCLUDE:
        return replace(learned, mode=Mode.EXCLUDE, excluded_sources=(), expires=None, static=True)
    if learned.mode is Mode.EXCLUDE:
        excluded = tuple(source for source in learned.excluded_sources if source not in static.filter.sources)
        return replace(learned, excluded_sources=excluded, static=True)
    timers: dict[int, float | None] = {**dict(learned.sources), **dict.fromkeys(static.filter.sources)}
    return replace(learned, sources=tuple(sorted(timers.items(), key=lambda item: item[0])), expires=None, static=True)


def hosts(port: int, members: Memberships, now: float) -> Iterator[HostStatus]:
    """The tracked hosts of all groups of a downstream port."""
    for group in members:
        for host, interest in list(group.hosts.items(now)):
            yield host_status(port, group.group, host, interest, now)


def host_status(port: int, group: int, host: int, interest: Interest, now: float) -> HostStatus:
    """What one host, as of `tracking.key_of`, wants of a group."""
    excluding = interest.excludes(now)
    listed = interest.excluded if excluding else interest.timers
    return HostStatus(
        port=port,
        group=group,
        host=max(host, 0),
        mac=interest.mac,
        mode=Mode.EXCLUDE if excluding else Mode.INCLUDE,
        sources=tuple(sorted(listed or ())),
        expires=interest.ends(now) - now,
    )


def refusals(port: int, rows: Iterable[RefusedJoin], now: float) -> Iterator[RefusalStatus]:
    """The joins that a downstream port refused, the least recent first."""
    for row in rows:
        yield RefusalStatus(
            port=port,
            group=row.group,
            host=max(row.host, 0),
            mac=row.mac,
            mode=row.wanted.mode,
            sources=tuple(sorted(row.wanted.sources)),
            reason=row.objection.reason,
            rule=row.objection.rule,
            since=now - row.since,
            last=now - row.last,
            count=row.count,
        )
