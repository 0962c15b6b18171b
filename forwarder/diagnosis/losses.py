"""What flows lose at single egresses, and what to do about it, in words. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from forwarder.state.egress_drops import FlowDrop
from forwarder.state.membership import PortMembership
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import RouteSettings
from igmp.link import format_address

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


def hint(drops: Iterable[FlowDrop], ports: Mapping[int, Port], situation: Situation, last_seen: int) -> str | None:
    """Where the flow loses most now and what helps there; None where it loses nothing."""
    current = [each for each in drops if each.egress in ports and last_seen - each.seen <= CURRENT]
    if not current:
        return None
    worst = max(current, key=lambda drop: drop.packets)
    others = len({drop.egress for drop in current} - {worst.egress})
    words = _words(worst.reason, ports[worst.egress], situation)
    return words + (f"; something is dropped on {others} more interface{'s'[: others > 1]}" if others else "")


def _words(reason: Reason, port: Port, situation: Situation) -> str:
    settings = port.settings
    match reason:
        case Reason.MTU:
            return (
                f"longer than the MTU of {port.name} ({port.mtu}) and not to be fragmented (DF), or too many for that: "
                "raise its MTU, or send shorter datagrams"
            )
        case Reason.TTL_THRESHOLD:
            return (
                f"TTL is below the threshold of {port.name} ({settings.threshold}): lower it there, or raise the TTL "
                "at the sender (IP_MULTICAST_TTL)"
            )
        case Reason.RATE_LIMITED:
            keys = [key for key in ("rate_limit", "flow_rate_limit") if getattr(settings, key)]
            return f"over {' or '.join(keys) or 'the rate limit'} of {port.name}: raise it, or send less"
        case Reason.NOT_QUERIER:
            return _querier(port, situation.memberships.get(port.index))
        case Reason.BOUNDARY:
            return f"lists (allow, deny, boundary) of {port.name} keep it out there"
        case Reason.TRANSMIT_FAILED:
            why = situation.degraded.get(port.index) or "the system refuses to send there"
            return f"{port.name} cannot send: {why}"
    return f"{reason.name.lower()} on {port.name}"


def _querier(port: Port, membership: PortMembership | None) -> str:
    other = membership.querier_address if membership and membership.stamp == port.assigned else 0
    who = format_address(other) if other else "another router or nobody"
    return f"{port.name}: {who} is the querier there, so we do not forward there (forward_when_not_querier)"
