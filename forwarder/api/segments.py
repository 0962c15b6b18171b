"""The readers of all shared state in one place, and the answers that come from them alone.

Nothing here waits: a segment that is being replaced is answered from the copy before.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from forwarder.api import views
from forwarder.api.losses import Situation
from forwarder.api.pages import Page
from forwarder.api.views import Row
from forwarder.state import standing
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration
from forwarder.state.route_reader import RouteReader
from forwarder.state.segment import Segment
from forwarder.state.settings import Settings
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.standing import Standing
from forwarder.state.worker_segment import WorkerReader
from igmp.link import Network

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
        """Read these segments of workers from now on; the descriptors of those before are closed."""
        for fd in self._segments.values():
            os.close(fd)
        self._segments = {name: fd for name, fd in sorted(descriptors.items()) if name.startswith("worker-")}
        self._workers = {name: WorkerReader(fd) for name, fd in self._segments.items()}
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
        counters = {
            port.index: views.total([worker.port(port.index) for worker in self._workers.values()], port.assigned)
            for port in ports
        }
        answers = {worker.gso for worker in self._workers.values()} - {None}
        segmentation = all(answers) if answers else None
        return views.interfaces(ports, memberships, counters, segmentation, profile, self._standings())

    def routes(self) -> list[Row]:
        """Who wants what."""
        return views.routes(self._routes.rows(), self.configuration)

    @cached_property
    def _flow_tables(self) -> "FlowTables":
        from forwarder.api.flow_tables import FlowTables

        return FlowTables(self._segments)

    def flows(self, page: Page) -> list[Row]:
        """One page of flows."""
        configuration, now = self.configuration, self._clock()
        ports = configuration.ports
        alive = now / 1e9 - STOPPED
        stopped = [name for name, each in self._workers.items() if 0 < each.heartbeat < alive]
        degraded = {index: each.degraded for index, each in self._standings().items() if each.degraded}
        memberships = {port.index: self._membership.port(port.index) for port in ports}
        situation = Situation(memberships, degraded, configuration.routes)
        return self._flow_tables.page(page, ports, now, situation, stopped)

    def flow_count(self, groups: Network | None) -> int:
        """How many flows there are of `groups` (None: all)."""
        return self._flow_tables.count(groups)

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
