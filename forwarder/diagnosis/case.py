"""One receiver's port, and what of the facts is about it: by which port it comes, as which flow, by which static route.

Pure. Where nobody in particular asks, there may be no port.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from forwarder.diagnosis.facts import AgentFacts, FlowFacts, GroupFacts, Row
from forwarder.diagnosis.refused import SERVED, lets_in
from forwarder.diagnosis.unwanted import Unwanted
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import RouteSettings, covers, is_wildcard

SILENT = AgentFacts()


@dataclass(frozen=True)
class Case:
    """See the module; `host`: the receiver's address, where one was asked for; `found`: how the port was, in words."""

    facts: GroupFacts
    unwanted: Unwanted      # what static routes and interfaces without ears do: the same for all cases of an answer
    port: Port | None = None
    host: int | None = None
    found: str = ""

    @cached_property
    def agent(self) -> AgentFacts:
        """What the agent says; nothing where it does not answer."""
        return self.facts.agent or SILENT

    @cached_property
    def index(self) -> int:
        """The port's; -1 where there is none."""
        return -1 if self.port is None else self.port.index

    @cached_property
    def asked(self) -> list[FlowFacts]:
        """The flows that come now, of the source that was asked for."""
        source = self.facts.source
        return [each for each in self.facts.flows if each.arrives and source in (None, each.source)]

    @cached_property
    def flow(self) -> FlowFacts | None:
        """The one that the receiver gets, or is nearest to get; None where none comes."""
        wanted = [each for each in self.asked if self.admits(each.source)] or self.asked
        return min(wanted, key=self._distance, default=None)

    def _distance(self, flow: FlowFacts) -> tuple[bool, ...]:
        goes = self.port is not None and bool(flow.ports >> self.index & 1)
        lost = any(drop.egress == self.index for drop in flow.losses) or flow.expires
        return (not goes, lost, flow.returned, flow.reason is Reason.STANDBY_DUPLICATE, flow.reason != Reason.FORWARD)

    @cached_property
    def membership(self) -> Row | None:
        """What is wanted of the group on the port, as the agent says."""
        return next((row for row in self.agent.groups if row["port"] == self.index), None)

    @cached_property
    def wish(self) -> Row | None:
        """What the host wants of the group there."""
        return next((row for row in self.agent.hosts if row["port"] == self.index), None)

    @cached_property
    def refusal(self) -> Row | None:
        """The last join that was refused there, of the host or of anybody."""
        return next((row for row in refusals(self.agent) if row["port"] == self.index and self._means(row)), None)

    def _means(self, row: Row) -> bool:
        source = self.facts.source
        return self.host in (None, row["host"]) and (source is None or lets_in(row, source))

    def admits(self, source: int) -> bool:
        """Whether what is wanted on the port is of this source too; where nothing is known, it is."""
        row = self.membership
        if row is None:
            return True
        if row["mode"] == "include":
            return source in {address for address, _ in row["sources"]}
        return source not in row["excluded_sources"]

    @cached_property
    def route(self) -> RouteSettings | None:
        """The static route that decides, if there is one."""
        source = self.facts.source or (self.asked[0].source if self.asked else 0)
        return self.unwanted.ruling.route(source, self.facts.group)

    @cached_property
    def ruled(self) -> bool:
        """Whether a static route sends it to the port, whoever has joined or queries."""
        return self.route is not None and self.port is not None and leads(self.route, self.port)

    @cached_property
    def ingress(self) -> Port | None:
        """By which port it comes, or should: a static route's, else the upstream that is fittest and preferred."""
        if self.flow is not None:
            return self.facts.port(self.flow.ingress)
        named = self.route.upstream if self.route else None
        ports = [port for port in self.facts.ports if port.role == "upstream" and covers(named or "*", port.name)]
        return min(ports, key=self._unfitness, default=None)

    def _unfitness(self, port: Port) -> tuple[bool, bool, int, int]:
        deaf = port.index in self.facts.enslaved or port.index in self.facts.situation.degraded
        return port.state != "up", deaf, port.settings.priority, port.index

    @cached_property
    def is_here(self) -> bool:
        """Whether the sender is on the receiver's own link."""
        return self.flow is not None and self.flow.ingress == self.index and not self.flow.returned


def leads(route: RouteSettings, port: Port) -> bool:
    """Whether a static route sends to a port; a wildcard means ports downstream only (`agent.static`)."""
    return any(
        name == port.name or (port.role == "downstream" and is_wildcard(name) and covers(name, port.name))
        for name in route.interfaces
    )


def refusals(agent: AgentFacts) -> Iterable[Row]:
    """The refused joins that keep something away."""
    return (row for row in agent.refusals if row["reason"] not in SERVED)
