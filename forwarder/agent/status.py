"""The protocol's tables as plain rows for the API process."""

from collections.abc import Iterable
from typing import Any

from igmp.outputs import GroupStatus, UpstreamStatus


def group_rows(groups: Iterable[GroupStatus]) -> list[dict[str, Any]]:
    """Groups of all downstream ports; addresses as numbers, times in seconds."""
    return [
        {
            "port": group.port,
            "group": group.group,
            "mode": str(group.mode),
            "sources": group.sources,
            "excluded_sources": group.excluded_sources,
            "compatibility": group.compatibility,
            "expires": group.expires,
            "uptime": group.uptime,
            "last_reporter": group.last_reporter,
            "static": False,
        }
        for group in groups
    ]


def upstream_rows(groups: Iterable[UpstreamStatus]) -> list[dict[str, Any]]:
    """Groups as reported upstream; addresses as numbers."""
    return [
        {
            "port": group.port,
            "group": group.group,
            "mode": str(group.mode),
            "sources": group.sources,
            "version": group.version,
        }
        for group in groups
    ]
