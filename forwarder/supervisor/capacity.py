"""How many ports there can be, where the configuration does not say. Pure.

It is fixed at start, since all tables have it in their shape; a word of 64 bits for each route and flow is the step.
"""

from collections.abc import Mapping
from dataclasses import replace

from forwarder.state.settings import LEAST_PORTS, MOST_PORTS, Settings, is_wildcard
from forwarder.supervisor.assignment import Entries
from forwarder.supervisor.links import KernelLink

SPARE = 16
"""Interfaces that reloads may name besides."""
UNSEEN = 32
"""Interfaces that wildcards may bring besides those that they match, which may as well double."""


def fitted(settings: Settings, links: Mapping[str, KernelLink]) -> Settings:
    """Settings that say how many ports there can be: as they did, or what these links call for."""
    if settings.dataplane.max_ports is not None:
        return settings
    wildcards = {each.name for each in settings.interface if is_wildcard(each.name) and each.role != "disabled"}
    wanted = Entries(settings).wanted(links)
    matched = sum(entry.name in wildcards for entry in wanted.values())
    needed = len(wanted) + SPARE + (max(matched, UNSEEN) if wildcards else 0)
    steps = -(-needed // LEAST_PORTS)
    return replace(settings, dataplane=replace(settings.dataplane, max_ports=min(steps * LEAST_PORTS, MOST_PORTS)))
