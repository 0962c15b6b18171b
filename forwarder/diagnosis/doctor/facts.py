"""What the doctor looks at: plain values that others gather. What could not be asked is None, or empty. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class KernelFacts(NamedTuple):
    """`raw`: we have CAP_NET_RAW; `segmentation`: UDP super-frames are described to us, `asked`: the kernel said so.

    `refused`: which call of a packet socket was refused, and why; `refused_help`: what helps. `uid`: who asks.
    """

    release: str = ""
    uid: int = 0
    raw: bool = True
    segmentation: bool = True
    asked: bool = True
    refused: str = ""
    refused_help: str = ""


class Offload(NamedTuple):
    """A feature of a device (ethtool -k): `changeable` where the driver lets somebody."""

    active: bool
    changeable: bool


class SnoopingBridge(NamedTuple):
    """A bridge on the path of an interface; `querier`: it asks itself, `heard`: it has heard one that asks."""

    name: str
    snooping: bool
    querier: bool
    heard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFacts:
    """An interface of the configuration. `unusable`: why none of this kind ever works, `enslaved`: why it is deaf.

    `kind` is that of rtnetlink, empty for a network card; `master_kind`: of what it is a port. `bare`: in words, that
    it needs an address and has none. `degraded`: why a running instance does not serve it. `peer`: the other end of a
    veth pair, where it is in this network namespace too. `macvlans`: interfaces of this host on top of it;
    `macvlan_mode`: where it is one itself. `queries`: mcfwd asks there. `querier` is another's address where we lost
    the election, None otherwise; `forwards_anyway`: that costs nothing. `traffic_filters`: of tc, each where (ingress
    or egress), its preference, and its kind.
    """

    name: str
    role: str
    state: str = "up"
    admin_up: bool = True
    kind: str = ""
    unusable: str = ""
    enslaved: str = ""
    master_kind: str = ""
    bare: str = ""
    degraded: str = ""
    peer: str = ""
    macvlans: tuple[str, ...] = ()
    macvlan_mode: str = ""
    offloads: Mapping[str, Offload] = field(default_factory=dict)
    bridges: tuple[SnoopingBridge, ...] = ()
    queries: bool = True
    querier: str | None = None
    forwards_anyway: bool = False
    reverse_path: int = 0
    transmit_failed: int = 0
    traffic_filters: tuple[tuple[str, int, str], ...] = ()


class Daemon(NamedTuple):
    """A program that routes multicast too, by process id."""

    pid: int
    name: str


class OtherFacts(NamedTuple):
    """`routed`: interfaces of the kernel's multicast routing, `entries` of its cache; `ours`: of them our interfaces.

    `daemons`: programs that route multicast; `forwarders`: other instances of mcfwd (their supervisors).
    """

    routed: tuple[str, ...] = ()
    entries: int = 0
    daemons: tuple[Daemon, ...] = ()
    forwarders: tuple[int, ...] = ()


class LimitFacts(NamedTuple):
    """Octets, None where it was not told. `wanted_*`: what a port asks for. `memory`: of the smallest control group.

    `memory_file`: what holds that limit; `needed`: what all processes take here at first, `growth`: what they shall
    have beside that. `available`: of the machine; `rings`: of the configuration.
    """

    receive: int | None = None
    send: int | None = None
    filters: int | None = None
    wanted_receive: int = 0
    wanted_send: int = 0
    wanted_filters: int = 0
    latency: bool = False
    memberships: int | None = None
    memory: int | None = None
    memory_file: str = ""
    needed: int = 0
    growth: int = 0
    available: int | None = None
    rings: int = 0


class LocalReceiver(NamedTuple):
    """A group that programs of this host have joined on one of our interfaces, UDP ports that are bound to it."""

    interface: str
    group: str
    ports: tuple[int, ...] = ()


class LocalSender(NamedTuple):
    """A socket of this host that is connected to a group from the address of one of our interfaces."""

    interface: str
    group: str
    port: int


class ProgramFacts(NamedTuple):
    """Programs of this host; `free`: names of a veth pair and a network that nobody has, for the recipe."""

    receivers: tuple[LocalReceiver, ...] = ()
    senders: tuple[LocalSender, ...] = ()
    default: str | None = None
    free: tuple[str, str, str] = ("mcfwd0", "local0", "192.168.77.1/24")


class FilterRule(NamedTuple):
    """A rule or policy of a packet filter that drops: where it stands, what it says, and the command that ends it.

    `devices`: of a netdev hook, whose frames it sees before or after us; empty for hooks of the IP stack.
    """

    place: str
    text: str
    remedy: str
    devices: tuple[str, ...] = ()


class FirewallFacts(NamedTuple):
    """`unread`: what could not be asked, and why. `seeing`: chains of netdev hooks that drop nothing, with devices."""

    rules: tuple[FilterRule, ...] = ()
    seeing: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unread: tuple[str, ...] = ()


class ExaminedFlow(NamedTuple):
    """A flow that an instance knows, with its verdict (a drop reason)."""

    group: str
    source: str
    interface: str
    verdict: str
    packets: int
    altnets: tuple[str, ...] | None = None


class Doubted(NamedTuple):
    """What `mcfwd check` doubts too: `about` is its kind."""

    about: str
    words: str


class InstanceFacts(NamedTuple):
    """A running instance: `answers`, or `silence`: why it does not; `denied`: there is one, but not for us."""

    answers: bool = False
    silence: str = ""
    denied: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is one, whatever it says to us."""
        return self.answers or bool(self.silence or self.denied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All there is. `problems`: of a configuration that cannot run; `configured`: there is one, or an instance has one.

    `known`: names of interfaces that could be meant by others. `unseen`: why the system does not tell its interfaces.
    """

    kernel: KernelFacts = field(default_factory=KernelFacts)
    instance: InstanceFacts = field(default_factory=InstanceFacts)
    configured: bool = True
    problems: tuple[str, ...] = ()
    unseen: str = ""
    interfaces: tuple[InterfaceFacts, ...] = ()
    known: tuple[str, ...] = ()
    others: OtherFacts = field(default_factory=OtherFacts)
    limits: LimitFacts = field(default_factory=LimitFacts)
    programs: ProgramFacts = field(default_factory=ProgramFacts)
    firewall: FirewallFacts = field(default_factory=FirewallFacts)
    flows: tuple[ExaminedFlow, ...] = ()
    doubted: tuple[Doubted, ...] = ()
