"""What flows lose at single egresses, and where most. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from forwarder.diagnosis.causes import at_egress
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.membership import PortMembership
from forwarder.state.ports import Port
from forwarder.state.settings import RouteSettings

CURRENT = 2_000_000_000
"""Nanoseconds of a flow's life: what it lost longer ago is counted, and no answer to why it does not arrive now.

What ports are kept out of is counted once a second.
"""

Flow = tuple[int, int]  # ingress, source << 32 | group


@dataclass(frozen=True, slots=True)
class Situation:
    """What else is known when somebody asks why: who queries and why it is not served, by port index; static routes."""

    memberships: Mapping[int, PortMembership] = field(default_factory=dict)
    degraded: Mapping[int, str] = field(default_factory=dict)
    routes: Sequence[RouteSettings] = ()


def by_flow(drops: Iterable[FlowDrop]) -> dict[Flow, list[FlowDrop]]:
    """The losses of each flow; a flow may have been carried by several workers."""
    found: dict[Flow, list[FlowDrop]] = {}
    for drop in drops:
        found.setdefault((drop.ingress, drop.pair), []).append(drop)
    return found


def dropped(drops: Iterable[FlowDrop], names: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Packets by the name of the port and the reason; ports that are gone are left out."""
    found: dict[str, dict[str, int]] = {}
    for drop in drops:
        if drop.egress in names:
            reasons, reason = found.setdefault(names[drop.egress], {}), drop.reason.name.lower()
            reasons[reason] = reasons.get(reason, 0) + drop.packets
    return found


def now_lost(drops: Iterable[FlowDrop], last_seen: int) -> list[FlowDrop]:
    """Those that still go on, as of when the flow was seen last."""
    return [each for each in drops if last_seen - each.seen <= CURRENT]


def hint(drops: Iterable[FlowDrop], ports: Mapping[int, Port], situation: Situation, last_seen: int) -> str | None:
    """Where the flow loses most now and what helps there; None where it loses nothing."""
    current = [each for each in now_lost(drops, last_seen) if each.egress in ports]
    if not current:
        return None
    worst = max(current, key=lambda drop: drop.packets)
    others = len({drop.egress for drop in current} - {worst.egress})
    at = worst.egress
    words = at_egress(worst.reason, ports[at], situation.memberships.get(at), situation.degraded.get(at)).hint
    return words + (f"; something is dropped on {others} more interface{'s'[: others > 1]}" if others else "")
