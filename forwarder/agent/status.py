"""The protocol's tables as plain rows for the API process, one by one; addresses as numbers, times in seconds."""

from collections.abc import Iterable, Iterator
from typing import Any

from igmp.outputs import GroupStatus, HostStatus, RefusalStatus, UpstreamStatus

Row = dict[str, Any]


def group_rows(groups: Iterable[GroupStatus]) -> Iterator[Row]:
    """Groups of all downstream ports, and static ones of all ports."""
    for group in groups:
        yield {
            "port": group.port,
            "group": group.group,
            "mode": str(group.mode),
            "sources": group.sources,
            "excluded_sources": group.excluded_sources,
            "compatibility": group.compatibility,
            "expires": group.expires,
            "uptime": group.uptime,
            "last_reporter": group.last_reporter,
            "static": group.static,
        }


def host_rows(hosts: Iterable[HostStatus]) -> Iterator[Row]:
    """What every host downstream wants; host and mac are 0 where they are not known."""
    for host in hosts:
        yield {
            "port": host.port,
            "group": host.group,
            "host": host.host,
            "mac": host.mac,
            "mode": str(host.mode),
            "sources": host.sources,
            "expires": host.expires,
        }


def refusal_rows(refusals: Iterable[RefusalStatus]) -> Iterator[Row]:
    """The joins that were refused downstream; host and mac are 0 where they are not known."""
    for refusal in refusals:
        yield {
            "port": refusal.port,
            "group": refusal.group,
            "host": refusal.host,
            "mac": refusal.mac,
            "mode": str(refusal.mode),
            "sources": refusal.sources,
            "reason": refusal.reason,
            "rule": refusal.rule,
            "since": refusal.since,
            "last": refusal.last,
            "count": refusal.count,
        }


def upstream_rows(groups: Iterable[UpstreamStatus]) -> Iterator[Row]:
    """Groups as reported upstream."""
    for group in groups:
        yield {
            "port": group.port,
            "group": group.group,
            "mode": str(group.mode),
            "sources": group.sources,
            "version": group.version,
            "origins": group.origins,
            "static": group.static,
        }
