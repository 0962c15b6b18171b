"""What is known of one group when somebody asks why it does not arrive: plain values, which others gather.

Addresses are numbers, ports named by index, durations seconds. Rows of the agent are as it says them (`agent.inquiry`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forwarder.diagnosis.losses import Situation
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason

Row = dict[str, Any]
ARRIVING = 10.0         # seconds: a stream of which a frame came that lately arrives


class News(NamedTuple):
    """What a flow counted between two looks, `seconds` apart."""

    packets: int
    dropped: int
    expired: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """One source of the group by one ingress, and what became of it (`state.flow_columns`).

    `age`: since its last frame; `ttl` and `length` of one of its packets, 0: not known; `losses`: what single ports
    do not send of it now; `returned`: it comes in where we send it.
    """

    ingress: int
    source: int
    reason: Reason
    ports: int = 0
    packets: int = 0
    octets: int = 0
    dropped: int = 0
    ttl_expired: int = 0
    age: float = 0.0
    ttl: int = 0
    length: int = 0
    stopped: bool = False
    returned: bool = False
    losses: tuple[FlowDrop, ...] = ()
    news: News | None = None

    @property
    def arrives(self) -> bool:
        """Whether frames of it came lately."""
        return self.age <= ARRIVING

    @property
    def expires(self) -> bool:
        """Whether its frames come with TTL 1 now; what it was before does not count where both were seen."""
        if self.news and (self.news.packets or self.news.expired):
            return not self.news.packets
        return bool(self.ttl_expired) and not self.packets

    @property
    def size(self) -> int:
        """Octets of its packets: on average, or of one; 0: not known."""
        return self.octets // self.packets if self.packets and self.octets else self.length


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the agent says of the group: its rows by what they are about."""

    groups: Sequence[Row] = ()
    hosts: Sequence[Row] = ()
    upstream: Sequence[Row] = ()
    queries: Sequence[Row] = ()
    refusals: Sequence[Row] = ()        # the newest first


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """All of it; `receiver` as it was asked for: a port's name or a host's address; None: nobody in particular.

    `agent` None: it does not answer. `members`: ports (a bitmap) by source, None any, as routes say. `enslaved`: why
    nothing is heard on ports, as something else takes what comes in. `anyway`: ports that we send to whoever queries.
    `drops`: what ports dropped between two looks, by reason. `stopped`: workers that do not live. `twins`: ports that
    another mcfwd serves too. `kernel`: what the kernel's multicast routing does with the group, in words.
    """

    group: int
    receiver: str | None = None
    source: int | None = None
    ports: Sequence[Port] = ()
    situation: Situation = field(default_factory=Situation)
    enslaved: Mapping[int, str] = field(default_factory=dict)
    anyway: frozenset[int] = frozenset()
    repeated: Mapping[int, float] = field(default_factory=dict)     # report_interval of upstreams that have one
    flows: Sequence[FlowFacts] = ()
    agent: AgentFacts | None = AgentFacts()
    members: Mapping[int | None, int] = field(default_factory=dict)
    drops: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    stopped: Sequence[str] = ()
    gso: bool | None = None
    twins: frozenset[int] = frozenset()
    kernel: str | None = None

    def port(self, index: int) -> Port | None:
        """The port of an index."""
        return next((port for port in self.ports if port.index == index), None)
