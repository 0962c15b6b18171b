"""The readers of all shared state in one place, and the answers that come from them alone.

Nothing here waits: a segment that is being replaced is answered from the copy before.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from forwarder.api import views
from forwarder.api.glances import Glance, dropped_between, flow_facts, members
from forwarder.api.pages import Page
from forwarder.api.samples import Sample, Sampler, traffic_rates
from forwarder.api.views import Row
from forwarder.diagnosis.facts import GroupFacts
from forwarder.diagnosis.losses import Situation
from forwarder.state import standing
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.segment import Segment
from forwarder.state.settings import RouteSettings, Settings, igmp_of
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.standing import Standing
from forwarder.state.worker_segment import PortCounters, WorkerReader
from igmp.link import Network

MOST_FLOWS = 256        # of a group and worker that are looked at for one answer: whoever sprays sources gets no more

if TYPE_CHECKING:
    from forwarder.api.flow_tables import FlowTables

STOPPED = 5.0
"""Seconds without a heartbeat, of which there is one a second: longer than a worker is replaced in."""


class Segments:
    """Shared state by the descriptors of the API process; `clock` is monotonic nanoseconds."""

    def __init__(self, descriptors: Mapping[str, int], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._configuration_reader = SnapshotReader(descriptors["configuration"])
        self._processes_reader = SnapshotReader(descriptors["processes"])
        self._routes = RouteReader(descriptors["routes"])
        self._membership = MembershipReader(descriptors["membership"])
        self._segments: dict[str, int] = {}
        self.read_workers(descriptors)
        self._own = Segment(descriptors["segment"])
        self._configuration = Configuration(0, Settings(), ())
        self._processes: dict[str, Any] = {}

    def read_workers(self, descriptors: Mapping[str, int]) -> None:
        """Read these segments of workers from now on; the descriptors of those before are closed.

        Rates begin again: in another segment a worker's counters may be those of two. OSError where they cannot be
        mapped: those before are read on, and the descriptors are the caller's.
        """
        segments = {name: fd for name, fd in sorted(descriptors.items()) if name.startswith("worker-")}
        workers = {name: WorkerReader(fd) for name, fd in segments.items()}
        for fd in self._segments.values():
            os.close(fd)
        self._segments, self._workers = segments, workers
        self._samplers = {name: Sampler(worker) for name, worker in workers.items()}
        self.__dict__.pop("_flow_tables", None)

    @property
    def configuration(self) -> Configuration:
        """The newest settings and ports."""
        changed = self._configuration_reader.poll()
        if changed is not None:
            self._configuration = Configuration.from_json(changed)
        return self._configuration

    def interfaces(self) -> list[Row]:
        """Ports with what agent and workers say of them."""
        configuration = self.configuration
        ports, profile = configuration.ports, configuration.settings.dataplane.profile
        memberships = {port.index: self._membership.port(port.index) for port in ports}
        counters = {port.index: self._counters(port) for port in ports}
        now, before = self._clock(), self._before().values()
        rates = {index: traffic_rates(before, index, counted, now) for index, counted in counters.items()}
        segmentation = self._segmentation()
        return views.interfaces(ports, memberships, counters, segmentation, profile, self._standings(), rates)

    def routes(self) -> list[Row]:
        """Who wants what."""
        return views.routes(self._routes.rows(), self.configuration)

    @cached_property
    def _flow_tables(self) -> "FlowTables":
        from forwarder.api.flow_tables import FlowTables

        return FlowTables(self._segments)

    def sample(self) -> None:
        """Note what was counted, for rates; to be called every second."""
        now = self._clock()
        for sampler in self._samplers.values():
            sampler.take(now)

    def _before(self) -> dict[str, Sample | None]:
        now = self._clock()
        return {name: sampler.before(now) for name, sampler in self._samplers.items()}

    def flows(self, page: Page) -> list[Row]:
        """One page of flows."""
        return [row for portion in self.flow_portions(page)[1] for row in portion]

    def flow_portions(self, page: Page, vain: Iterable[int] = ()) -> tuple[int, Iterator[list[Row]]]:
        """How many flows are asked for, and one page of them in portions; `vain`: as `flow_choice.choose` has it."""
        configuration, now = self.configuration, self._clock()
        situation = self._situation(configuration, configuration.routes)
        stopped, before = self._stopped(now), self._before()
        return self._flow_tables.page(page, configuration.ports, now, situation, stopped, before, vain)

    def _situation(self, configuration: Configuration, routes: Sequence[RouteSettings]) -> Situation:
        degraded = {index: each.degraded for index, each in self._standings().items() if each.degraded}
        memberships = {port.index: self._membership.port(port.index) for port in configuration.ports}
        return Situation(memberships, degraded, routes)

    def _stopped(self, now: int) -> list[str]:
        alive = now / 1e9 - STOPPED
        return [name for name, each in self._workers.items() if 0 < each.heartbeat < alive]

    def glance(self, group: int, source: int | None) -> Glance:
        """The flows of a group, those of `source` for sure, and what ports have dropped so far."""
        now = self._clock()
        flows = self._flow_tables.of_group(group, source, MOST_FLOWS)
        return Glance(now, flows, {port.index: self._counters(port).drops for port in self.configuration.ports})

    def facts(self, group: int, first: Glance, second: Glance) -> GroupFacts:
        """What is known of a group here; of what it counts, that is what came between two looks."""
        configuration, standings = self.configuration, self._standings()
        ports, igmp = configuration.ports, configuration.settings.igmp
        of_now = {port.index: standings[port.index] for port in ports if port.index in standings
                  and standings[port.index].assigned == port.assigned}  # fmt: skip
        routes = [route for route in configuration.routes if Network.parse(route.group).contains(group)]
        stopped = self._stopped(second.now)
        held = {port.index: igmp_of(igmp, port.settings) for port in ports}
        return GroupFacts(
            group=group,
            ports=ports,
            situation=self._situation(configuration, routes),
            enslaved={index: each.enslaved for index, each in of_now.items() if each.enslaved},
            anyway=frozenset(index for index, each in held.items() if each.forward_when_not_querier),
            repeated={index: each.report_interval for index, each in held.items() if each.report_interval},
            flows=flow_facts(first, second, stopped),
            members=members(self._routes.rows_of(group), ports),
            drops=dropped_between(first, second),
            stopped=stopped,
            gso=self._segmentation(),
            twins=frozenset(index for index, each in of_now.items() if each.twin),
        )

    def _counters(self, port: Port) -> PortCounters:
        """What all workers have counted of a port."""
        return views.total([worker.port(port.index) for worker in self._workers.values()], port.assigned)

    def _segmentation(self) -> bool | None:
        """Whether the kernel takes segmented sends; None before it was asked."""
        answers = {worker.gso for worker in self._workers.values()} - {None}
        return all(answers) if answers else None
    def stats(self) -> Row:
        """The instance as a whole."""
        configuration, standings = self.configuration, self._standings()
        workers = self._workers.values()
        load = views.Load(
            flows=sum(worker.flows for worker in workers),
            batches=sum(worker.batches for worker in workers),
            frames=sum(worker.frames for worker in workers),
        )
        now = self._clock() / 1e9
        degraded = views.degraded(configuration.ports, standings)
        sizes = configuration.settings.dataplane
        return views.stats(self._processes, self._heartbeats(), sizes, load, now, degraded)

    def _standings(self) -> dict[int, Standing]:
        """What the supervisor says of ports, by index."""
        self._processes = self._processes_reader.poll() or self._processes
        return {each.index: each for each in standing.from_json(self._processes.get("ports", ()))}

    def _heartbeats(self) -> dict[str, float]:
        """By process name; the supervisor beats for nobody."""
        workers = {f"mcfwd-{name}": worker.heartbeat for name, worker in self._workers.items()}
        return {**workers, "mcfwd-agent": self._membership.heartbeat, "mcfwd-api": self._own.words[0] / 1e9}
