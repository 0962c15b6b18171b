"""The steps where a datagram leaves for the receiver, or does not; and who else forwards. Pure."""

from forwarder.diagnosis import causes
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.rungs import Found, bad, good
from forwarder.diagnosis.unwanted import named
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.units import count, size


def threshold(case: Case) -> Found | None:
    """Whether the TTL is what the receiver's port asks for."""
    if case.port is None or case.flow is None or case.is_here:
        return None
    return _loss(case, case.port, Reason.TTL_THRESHOLD) or good(
        f"it passes the threshold of {case.port.name} ({case.port.settings.threshold})"
    )


def mtu(case: Case) -> Found | None:
    """Whether it fits the receiver's link."""
    if case.port is None or case.flow is None or case.is_here:
        return None
    return _loss(case, case.port, Reason.MTU) or good(f"it fits the MTU of {case.port.name} ({case.port.mtu})")


def rate(case: Case) -> Found | None:
    """Whether a rate limit holds it back."""
    if case.port is None or case.flow is None or not case.port.limited or case.is_here:
        return None
    return _loss(case, case.port, Reason.RATE_LIMITED) or good(f"it is within the rate limits of {case.port.name}")


def _loss(case: Case, port: Port, reason: Reason) -> Found | None:
    lost = sum(drop.packets for drop in _losses(case, reason))
    if not lost:
        return None
    trouble = causes.at_egress(reason, port, degraded=case.facts.situation.degraded.get(port.index))
    return bad(f"{trouble.words}; {count(lost)} dropped", trouble.remedy)


def _losses(case: Case, reason: Reason) -> list[FlowDrop]:
    losses = case.flow.losses if case.flow is not None else ()
    return [drop for drop in losses if drop.egress == case.index and drop.reason is reason]


def sent(case: Case) -> Found | None:
    """Whether it leaves by the receiver's port, and as what."""
    flow, port = case.flow, case.port
    if flow is None or port is None:
        return None
    if case.is_here:
        return good(f"the sender is on {port.name} itself: the link brings it to the receiver without us")
    if found := _loss(case, port, Reason.TRANSMIT_FAILED):
        return found
    if not flow.ports >> case.index & 1:
        trouble = causes.of_flow(flow.reason, case.ingress)
        late = causes.Trouble("it was decided before it was wanted there", "ask again in a moment")
        why = late if trouble is None or flow.reason is Reason.FORWARD else trouble
        return bad(f"it is not sent on {port.name}: {why.words}", why.remedy)
    if not flow.packets:
        return bad(f"nothing of it was sent on {port.name} yet", "ask again in a moment; see `mcfwd show flows`")
    how = {True: "in UDP super-frames that the kernel cuts into datagrams (gso)", False: "datagram by datagram (plain)",
           None: "datagram by datagram"}[case.facts.gso]  # fmt: skip
    lost = sum(drop.packets for drop in flow.losses if drop.egress == case.index)
    return good(f"{count(max(flow.packets - lost, 0))} datagrams ({size(flow.octets)}) were sent on {port.name}, {how}")


def others(case: Case) -> Found:
    """Whether another forwarder is there: then everything comes twice, which keeps nothing away."""
    found = [case.facts.kernel] if case.facts.kernel else []
    twins = [port.name for port in case.facts.ports if port.index in case.facts.twins]
    if twins:
        found.append(f"another mcfwd serves {named(twins)} too")
    if any(flow.returned for flow in case.asked):
        found.append("what we send comes in again: a second forwarder, or a loop")
    if found:
        return good(f"{'; '.join(found)}: what both forward comes twice; {causes.STOP_ONE}")
    return good("no other forwarder is known here")
