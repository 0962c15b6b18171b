"""What two looks at the workers' tables, a moment apart, say of one group: as facts for `diagnosis`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from forwarder.diagnosis.facts import FlowFacts, News
from forwarder.diagnosis.losses import now_lost
from forwarder.diagnosis.verdicts import comes_back, served_by
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.routes import LEARNED, RouteRow

Key = tuple[str, int, int]


class Glance(NamedTuple):
    """One look, at `now` (monotonic nanoseconds): worker, row and losses of each flow; drops of each port by reason."""

    now: int
    flows: Sequence[tuple[str, Mapping[str, Any], Sequence[FlowDrop]]] = ()
    drops: Mapping[int, Mapping[str, int]] = {}


def flow_facts(first: Glance, second: Glance, stopped: Iterable[str]) -> list[FlowFacts]:
    """The flows of the second look, with what came since the first; `stopped`: workers that do not live."""
    before = {_key(name, flow): flow for name, flow, _ in first.flows}
    served, dead = served_by(flow for _, flow, _ in second.flows), frozenset(stopped)
    seconds = (second.now - first.now) / 1e9
    return [
        _facts(flow, losses, second.now, name in dead, comes_back_wrong(flow, served),
               _news(before.get(_key(name, flow)), flow, seconds))
        for name, flow, losses in second.flows
    ]  # fmt: skip


def comes_back_wrong(flow: Mapping[str, Any], served: Mapping[int, int]) -> bool:
    """Whether a flow was refused since it comes in where we send it."""
    return flow["reason"] == Reason.WRONG_INTERFACE and comes_back(flow, served)


def dropped_between(first: Glance, second: Glance) -> dict[int, dict[str, int]]:
    """What ports dropped meanwhile, by reason; a port that is new has dropped nothing yet."""
    found = {}
    for port, drops in second.drops.items():
        before = first.drops.get(port, drops)
        if grown := {reason: now - before[reason] for reason, now in drops.items() if now > before[reason]}:
            found[port] = grown
    return found


def members(rows: Iterable[RouteRow], ports: Iterable[Port]) -> dict[int | None, int]:
    """Ports (a bitmap) by source, None any, as learned routes say; bits of an index's former owner left out."""
    assigned = {port.index: port.assigned for port in ports}
    found: dict[int | None, int] = {}
    for row in rows:
        if row.kind == LEARNED:
            ours = sum(1 << index for index, since in assigned.items() if since <= row.stamp)
            found[row.key.source] = found.get(row.key.source, 0) | row.ports & ours
    return found


def _key(worker: str, flow: Mapping[str, Any]) -> Key:
    return worker, flow["ingress"], flow["source"]


def _news(before: Mapping[str, Any] | None, flow: Mapping[str, Any], seconds: float) -> News | None:
    """What a flow has counted since; None where it is new, or its row was another's in between."""
    if before is None or seconds <= 0:
        return None
    packets, dropped, expired = (flow[name] - before[name] for name in ("packets", "dropped", "ttl_expired"))
    return None if min(packets, dropped, expired) < 0 else News(packets, dropped, expired, seconds)


def _facts(
    flow: Mapping[str, Any], losses: Sequence[FlowDrop], now: int, stopped: bool, returned: bool, news: News | None
) -> FlowFacts:
    return FlowFacts(
        ingress=flow["ingress"],
        source=flow["source"],
        reason=Reason(flow["reason"]),
        ports=flow["ports"],
        packets=flow["packets"],
        octets=flow["bytes"],
        dropped=flow["dropped"],
        ttl_expired=flow["ttl_expired"],
        age=max(now - flow["last_seen"], 0) / 1e9,
        ttl=flow["frame"] & 0xFF,
        length=flow["frame"] >> 8,
        stopped=stopped,
        returned=returned,
        losses=tuple(now_lost(losses, flow["last_seen"])),
        news=news,
    )
