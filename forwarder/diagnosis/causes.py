"""The words for why a datagram or a report goes no further, and for what helps: `show flows` and `why` both say these.

`of_flow` is in the order in which a datagram meets them; pure.
"""

from typing import NamedTuple

from forwarder.state.membership import PortMembership
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from igmp.link import format_address

RAISE_TTL = "raise it (IP_MULTICAST_TTL)"
RAISE_TTL_THERE = "raise it at the sender (IP_MULTICAST_TTL)"
STOP_ONE = "stop one of them"


class Trouble(NamedTuple):
    """Why, and what to do about it; `between` joins them in a hint, None: the hint is the words alone."""

    words: str
    remedy: str
    between: str | None = "; "

    @property
    def hint(self) -> str:
        """Both in one line."""
        return self.words if self.between is None else f"{self.words}{self.between}{self.remedy}"


STOPPED = Trouble("the worker that has this flow has stopped", "another is being started (see the log)")
TTL_1 = Trouble("sender uses TTL 1", RAISE_TTL)
STANDBY = Trouble("the flow is taken from another upstream", "nothing: priority says which is preferred", None)
FULL = Trouble("as many flows as max_flows are in use", "raise max_flows in [dataplane]")
RESERVED = Trouble(
    "link-local groups (224.0.0.0/24) and 232.0.0.0 are never forwarded",
    "use another group, best of 239.0.0.0/8; for mDNS run a reflector", None,
)  # fmt: skip


def not_up(name: str, state: str) -> Trouble:
    """An interface is down or missing."""
    remedy = f"set it up (ip link set {name} up), and look what is at its other end"
    absent = "create it, or correct the name in the configuration (ip link); it is waited for"
    return Trouble(f"{name} is {state}: nothing comes in there", absent if state == "missing" else remedy, None)


def twice(name: str) -> Trouble:
    """What we send comes back."""
    return Trouble(
        f"we send it to {name}, and it comes in there: another forwarder sends it there too, or a loop brings it back",
        "find the other forwarder or the loop (ip mroute; bridges between the links)", None,
    )  # fmt: skip


def of_source(reason: Reason, port: Port | None) -> Trouble | None:
    """Why the port by which it comes does not take a flow's source; None: it does."""
    where = port.name if port else "the interface"
    match reason:
        case Reason.SOURCE_NOT_ALLOWED:
            remedy = "add its network to altnets there"
            if port is not None and port.role == "downstream":
                remedy += f", or make {where} upstream if it leads to the sources"
            return Trouble(f"source is in no subnet of {where}", remedy)
        case Reason.BAD_SOURCE:
            words = "source is no address of a host elsewhere (0.0.0.0/8, 169.254.0.0/16, broadcast, or our own)"
            return Trouble(words, "correct the sender's address, or set link_local_sources for 169.254.0.0/16")
        case Reason.WRONG_INTERFACE:
            words = f"the source's subnet, or a static route, says that it comes by another interface than {where}"
            if port is not None and port.role == "both":
                words += ", or it does already"
            return Trouble(words, "correct addresses, altnets or the route, or send it there", None)
    return None


def of_flow(reason: Reason, port: Port | None, expired: int = 0) -> Trouble | None:
    """Why a flow that came by `port` has this verdict; `expired`: how many of its packets came with TTL 1."""
    if reason is Reason.TTL_EXPIRED:
        return TTL_1
    if expired:
        return Trouble(f"{expired} more packets came with TTL 1 and were dropped", RAISE_TTL, None)
    where = port.name if port else "the interface"
    match reason:
        case Reason.BOUNDARY:
            words = f"lists (allow, deny, boundary) of {where} or of every interface that wants it keep it out"
            return Trouble(words, "change these lists, if it should pass", None)
        case Reason.STANDBY_DUPLICATE:
            return STANDBY
        case Reason.TTL_THRESHOLD:
            return Trouble(f"TTL is below the threshold of {where}", RAISE_TTL_THERE)
        case Reason.NOT_QUERIER:
            words = "another router is the querier where it is wanted, so we do not forward (forward_when_not_querier)"
            return Trouble(words, "switch its querier off, or set forward_when_not_querier", None)
        case Reason.RESERVED:
            return RESERVED
        case Reason.FLOW_TABLE_FULL:
            return FULL
    return of_source(reason, port)


def at_egress(
    reason: Reason, port: Port, membership: PortMembership | None = None, degraded: str | None = None
) -> Trouble:
    """Why a port does not send what it should; `degraded`: why it is not served."""
    settings, name = port.settings, port.name
    match reason:
        case Reason.MTU:
            words = f"longer than the MTU of {name} ({port.mtu}) and not to be fragmented (DF), or too many for that"
            return Trouble(words, "raise its MTU, or send shorter datagrams", ": ")
        case Reason.TTL_THRESHOLD:
            remedy = "lower it there, or raise the TTL at the sender (IP_MULTICAST_TTL)"
            return Trouble(f"TTL is below the threshold of {name} ({settings.threshold})", remedy, ": ")
        case Reason.RATE_LIMITED:
            keys = [key for key in ("rate_limit", "flow_rate_limit") if getattr(settings, key)]
            return Trouble(f"over {' or '.join(keys) or 'the rate limit'} of {name}", "raise it, or send less", ": ")
        case Reason.NOT_QUERIER:
            return lost_election(port, membership)
        case Reason.BOUNDARY:
            return Trouble(f"lists (allow, deny, boundary) of {name} keep it out there", "change these lists", None)
        case Reason.TRANSMIT_FAILED:
            why = degraded or "the system refuses to send there"
            return Trouble(f"{name} cannot send: {why}", f"look at the interface (ip -s link show {name})", None)
    return Trouble(f"{reason.name.lower()} on {name}", "see docs/troubleshooting.md", None)


def lost_election(port: Port, membership: PortMembership | None) -> Trouble:
    """Somebody else is the querier of a port, or nobody is."""
    other = membership.querier_address if membership and membership.stamp == port.assigned else 0
    who = querier_name(other)
    remedy = f"switch its querier off, give {port.name} a lower address, or set forward_when_not_querier"
    if not port.settings.querier and not other:
        remedy = f"set querier of {port.name}, or forward_when_not_querier"
    words = f"{port.name}: {who} is the querier there, so we do not forward there (forward_when_not_querier)"
    return Trouble(words, remedy, None)


def querier_name(address: int) -> str:
    """Another querier than we; 0: its address is not known, or nobody asks."""
    return format_address(address) if address else "another router or nobody"
