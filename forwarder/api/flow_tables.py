"""The flows of all workers: what `Segments` imports once somebody asks for flows, and numpy (6 MiB, 0.1 s) with it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from forwarder.api import flows
from forwarder.api.flow_choice import choose
from forwarder.api.flow_order import WorkerFlows
from forwarder.api.pages import Page
from forwarder.api.samples import Sample
from forwarder.api.views import Row
from forwarder.diagnosis.losses import Situation, by_flow
from forwarder.diagnosis.verdicts import pair_of
from forwarder.state import egress_drops
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.worker_columns import WorkerSegment


class FlowTables:
    """`workers`: the descriptors of their segments by name."""

    def __init__(self, workers: Mapping[str, int]) -> None:
        self._segments = {name: WorkerSegment(fd) for name, fd in workers.items()}

    def page(
        self, page: Page, ports: Sequence[Port], now_ns: int, situation: Situation, stopped: Iterable[str],
        before: Mapping[str, Sample | None], vain: Iterable[int] = (),
    ) -> tuple[int, Iterator[list[Row]]]:
        """How many flows are asked for, and the rows of one page of them, in portions.

        `stopped`: workers that have not lived for a while; `before`: what each had counted; `vain`: as `choose` has it.
        """
        stopped = set(stopped)
        tables = [
            WorkerFlows(each.flows, list(egress_drops.read(each.drops)), name in stopped, before.get(name))
            for name, each in self._segments.items()
        ]
        choice = choose(tables, ports, page, now_ns, vain)
        return choice.total, flows.portions(tables, ports, choice, now_ns, situation)

    def of_group(self, group: int, source: int | None, most: int) -> list[tuple[str, Row, list[FlowDrop]]]:
        """Worker, copy (`flows.of_group`) and losses of each flow of a group, `most` of a worker."""
        found = []
        for name, each in self._segments.items():
            losses = by_flow(drop for drop in egress_drops.read(each.drops) if drop.pair & 0xFFFF_FFFF == group)
            for copy in flows.of_group(each.flows, group, source, most):
                found.append((name, copy, losses.get((copy["ingress"], pair_of(copy)), [])))
        return found
