"""The flows of all workers: what `Segments` imports once somebody asks for flows, and numpy (6 MiB, 0.1 s) with it."""

from collections.abc import Iterable, Mapping, Sequence

from forwarder.api import flows
from forwarder.api.pages import Page
from forwarder.api.views import Row
from forwarder.diagnosis.losses import Situation, by_flow
from forwarder.diagnosis.verdicts import pair_of
from forwarder.state import egress_drops
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.worker_columns import WorkerSegment
from igmp.link import Network


class FlowTables:
    """`workers`: the descriptors of their segments by name."""

    def __init__(self, workers: Mapping[str, int]) -> None:
        self._segments = {name: WorkerSegment(fd) for name, fd in workers.items()}

    def page(
        self, page: Page, ports: Sequence[Port], now_ns: int, situation: Situation, stopped: Iterable[str]
    ) -> list[Row]:
        """One page of flows; `stopped`: workers that have not lived for a while."""
        stopped = set(stopped)
        tables = [
            flows.WorkerFlows(each.flows, list(egress_drops.read(each.drops)), name in stopped)
            for name, each in self._segments.items()
        ]
        return flows.page(tables, ports, page, now_ns, situation)

    def of_group(self, group: int, source: int | None, most: int) -> list[tuple[str, Row, list[FlowDrop]]]:
        """Worker, copy (`flows.of_group`) and losses of each flow of a group, `most` of a worker."""
        found = []
        for name, each in self._segments.items():
            losses = by_flow(drop for drop in egress_drops.read(each.drops) if drop.pair & 0xFFFF_FFFF == group)
            for copy in flows.of_group(each.flows, group, source, most):
                found.append((name, copy, losses.get((copy["ingress"], pair_of(copy)), [])))
        return found

    def count(self, groups: Network | None) -> int:
        """How many flows there are of `groups` (None: all)."""
        return flows.total([each.flows for each in self._segments.values()], groups)
