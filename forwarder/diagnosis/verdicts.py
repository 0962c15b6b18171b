"""What becomes of a flow, and why: first what stops all flows, then what was decided of this one. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forwarder.diagnosis import causes
from forwarder.diagnosis.losses import Situation, hint
from forwarder.diagnosis.unwanted import Unwanted
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason

NOT_UP = {"down": "interface_down", "missing": "interface_missing"}
STOPPED = "worker_stopped"
BY_EXPIRY = (Reason.FORWARD, Reason.NO_MEMBERS)
"""Verdicts that are ttl_expired where nothing else came."""
REASONS = [Reason(number) for number in range(max(Reason) + 1)]     # a call of the enumeration takes much longer
LEAVING = (Reason.FORWARD, Reason.NOT_QUERIER, Reason.BOUNDARY)
"""What single egresses may lose, or are kept out of."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """By what flows are judged; `served`: to which ports (a bitmap) source << 32 | group is sent, whatever its way."""

    ports: Mapping[int, Port]
    situation: Situation
    unwanted: Unwanted
    served: Mapping[int, int] = field(default_factory=dict)

    def of(self, flow: Mapping[str, Any], drops: Sequence[FlowDrop], stopped: bool = False) -> tuple[str, str | None]:
        """Verdict and hint of a flow's row (`state.flow_columns`, `ports` a bitmap); `stopped`: so has its worker."""
        reason, ingress = reason_of(flow), self.ports.get(flow["ingress"])
        if stopped:
            return STOPPED, causes.STOPPED.hint
        if ingress is None or ingress.state != "up":
            state, name = (ingress.state, ingress.name) if ingress else ("missing", "the interface that it came by")
            return NOT_UP[state], causes.not_up(name, state).hint
        verdict = reason.name.lower()
        if reason is Reason.WRONG_INTERFACE and comes_back(flow, self.served):
            return verdict, causes.twice(ingress.name).hint
        if reason is Reason.NO_MEMBERS and not flow["ttl_expired"]:
            return verdict, self.unwanted.hint(flow["source"], flow["group"], ingress)
        lost = hint(drops, self.ports, self.situation, flow["last_seen"]) if reason in LEAVING else None
        trouble = causes.of_flow(reason, ingress, flow["ttl_expired"])
        return verdict, lost or (trouble.hint if trouble else None)


def reason_of(flow: Mapping[str, Any]) -> Reason:
    """The flow's verdict, or ttl_expired where that is why none of its frames goes anywhere."""
    reason = REASONS[flow["reason"]]
    expired = flow["ttl_expired"] and not flow["packets"]
    return Reason.TTL_EXPIRED if expired and reason in BY_EXPIRY else reason


def comes_back(flow: Mapping[str, Any], served: Mapping[int, int]) -> bool:
    """Whether a flow comes in where we send it."""
    return bool(served.get(pair_of(flow), 0) >> flow["ingress"] & 1)


def pair_of(flow: Mapping[str, Any]) -> int:
    """Source << 32 | group."""
    pair: int = flow["source"] << 32 | flow["group"]
    return pair


def served_by(flows: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """To which ports each pair is sent."""
    found: dict[int, int] = {}
    for flow in flows:
        if flow["reason"] == Reason.FORWARD:
            found[pair_of(flow)] = found.get(pair_of(flow), 0) | flow["ports"]
    return found
