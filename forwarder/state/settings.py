"""Every key of the configuration, once: light dataclasses that any process can hold.

`forwarder.config.loading` validates a TOML file into these; the supervisor publishes them; nobody else checks them.
Durations are seconds, sizes bytes, networks and addresses text as the user wrote them.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

Role = Literal["upstream", "downstream", "both", "disabled"]
IgmpVersion = Literal["auto", 1, 2, 3]
ProfileName = Literal["latency", "balanced", "throughput"]
SocketMode = Literal["0600", "0660", "0666"]
Burst = Annotated[int, Ge(1), Le(65536)]
Seconds = Annotated[float, Ge(0.05), Le(31744.0)]
SecondsOrNone = Annotated[float, Ge(0.0), Le(31744.0)]      # 0: not at all
Priority = Annotated[int, Ge(0), Le(0x7FFFFFFF)]            # of an skb; 7 is TC_PRIO_CONTROL, as the kernel's IGMP has
Times = Annotated[int, Ge(1), Le(255)]
LEAST_PORTS, MOST_PORTS = 64, 4096
WILDCARD = frozenset("*?[")


@lru_cache(2 * MOST_PORTS)      # a reload asks a dozen times of each name
def is_wildcard(name: str) -> bool:
    """Whether a configured name is a shell pattern."""
    return not WILDCARD.isdisjoint(name)


def covers(configured: str, name: str) -> bool:
    """Whether a configured name or wildcard means the interface `name`."""
    return configured == name or (is_wildcard(configured) and fnmatchcase(name, configured))


class Table:
    """A table of the TOML: it knows its own keys and takes no others (pydantic reads this attribute)."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class InterfaceSettings(Table):
    """One `[[interface]]`: a name or shell wildcard, its role and what is particular to it.

    Keys that `[igmp]` has too hold here instead of what it says; None is what it says (`igmp_of`).

    There may be thousands, in every process, and each says three of forty keys. So it has no slots: what it does not
    say it needs not hold, since a default is read from the class (`interface_from_json`). To fill forty slots of a
    frozen dataclass took half of what a reload cost a worker.
    """

    name: Annotated[str, MinLen(1), MaxLen(15)]
    role: Role = "downstream"
    priority: Annotated[int, Ge(0), Le(65535)] = 1
    altnets: tuple[str, ...] | None = None
    threshold: Annotated[int, Ge(1), Le(256)] = 1
    igmp_version: IgmpVersion = "auto"
    querier: bool = True
    querier_address: str | None = None
    quick_leave: bool = False
    quick_leave_untracked: bool = False
    max_groups: Annotated[int, Ge(1)] = 4096
    max_sources: Annotated[int, Ge(1), Le(65535)] = 1024
    max_port_sources: Annotated[int, Ge(1), Le(1 << 24)] = 65536
    max_hosts: Annotated[int, Ge(1), Le(65536)] = 512
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    boundary: tuple[str, ...] = ()
    contribute: tuple[str, ...] | None = None
    rate_limit: Annotated[int, Ge(1)] | None = None
    flow_rate_limit: Annotated[int, Ge(1)] | None = None
    static_groups: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    link_local_sources: bool = False
    robustness: Times | None = None
    query_interval: Seconds | None = None
    max_query_interval: Seconds | None = None
    query_response_interval: Seconds | None = None
    last_member_query_interval: Seconds | None = None
    last_member_query_count: Times | None = None
    startup_query_interval: Seconds | None = None
    startup_query_count: Times | None = None
    unsolicited_report_interval: Seconds | None = None
    specific_query_burst: Burst | None = None
    specific_query_rate: Burst | None = None
    older_querier_timeout: Seconds | None = None
    igmp_priority: Priority | None = None
    report_interval: SecondsOrNone | None = None
    linger: SecondsOrNone | None = None
    gmi_rfc3376: bool | None = None
    rfc9776: bool | None = None
    require_router_alert: bool | None = None
    accept_any_ttl: bool | None = None
    forward_when_not_querier: bool | None = None


_DEFAULTS = {each.name: each.default for each in fields(InterfaceSettings)}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgmpSettings(Table):
    """`[igmp]`: RFC 9776 section 8 values and the choices the RFCs leave open."""

    robustness: Times = 2
    query_interval: Seconds = 125.0
    max_query_interval: Seconds = 600.0
    query_response_interval: Seconds = 10.0
    last_member_query_interval: Seconds = 1.0
    last_member_query_count: Times | None = None
    startup_query_interval: Seconds | None = None
    startup_query_count: Times | None = None
    unsolicited_report_interval: Seconds = 1.0
    specific_query_burst: Burst = 1000
    specific_query_rate: Burst = 1000
    older_querier_timeout: Seconds = 400.0
    igmp_priority: Priority = 7
    report_interval: SecondsOrNone = 0.0
    linger: SecondsOrNone = 0.0
    require_router_alert: bool = False
    accept_any_ttl: bool = False
    strict_sources: bool = False
    gmi_rfc3376: bool = False
    rfc9776: bool = False
    merge_only_querier: bool = False
    forward_when_not_querier: bool = False
    ssm_range: Annotated[tuple[str, ...], MaxLen(256)] = ("232.0.0.0/8",)
    ssm_upstream: bool = True


_SHARED = {each.name for each in fields(IgmpSettings)}.intersection(_DEFAULTS)


def igmp_of(igmp: IgmpSettings, interface: InterfaceSettings) -> IgmpSettings:
    """`[igmp]` as it holds on one interface; the same object where that has no such keys of its own."""
    said = vars(interface)
    if _SHARED.isdisjoint(said):        # of nearly all; there may be thousands
        return igmp
    own = {key: said[key] for key in _SHARED.intersection(said) if said[key] is not None}
    return replace(igmp, **own) if own else igmp


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings(Table):
    """One `[[route]]`: static, wins over what is learned for its group; no interfaces: blocked."""

    group: str
    source: str | None = None
    upstream: str | None = None
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataplaneSettings(Table):
    """`[dataplane]`: sizes and manners; `gather_ms` None is the profile's.

    `max_ports` None is what the interfaces need that are named, and wildcards may (`supervisor.capacity`).
    """

    profile: ProfileName = "balanced"
    gather_ms: Annotated[float, Ge(0.0), Le(20.0)] | None = None
    busy_poll: bool = False
    burst: Annotated[int, Ge(1), Le(65536)] = 64
    workers: Annotated[int, Ge(1), Le(32)] = 1
    ring_memory: Annotated[int, Ge(1 << 20)] = 160 << 20
    max_ports: Annotated[int, Ge(2), Le(MOST_PORTS)] | None = None
    max_flows: Annotated[int, Ge(64), Le(1 << 22)] = 65536
    max_routes: Annotated[int, Ge(64), Le(1 << 22)] = 262144
    flow_limit: Annotated[int, Ge(1)] = 512
    failover_time: Seconds = 1.0

    @property
    def ports(self) -> int:
        """How many ports there can be; the least where that is not known yet."""
        return self.max_ports or LEAST_PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings(Table):
    """`[control]`: the Unix socket, where None searches the usual places, and who may ask there."""

    socket: str | None = None
    socket_group: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    socket_mode: SocketMode = "0660"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings(Table):
    """`[process]`: who the children are where root starts mcfwd; None is nobody, empty whoever starts it."""

    user: Annotated[str, MaxLen(256)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Table):
    """The whole configuration."""

    mode: Literal["proxy"] = "proxy"
    include: tuple[str, ...] = ()       # of a file; what is loaded has the tables of those files and nothing here
    interface: tuple[InterfaceSettings, ...] = ()
    igmp: IgmpSettings = field(default_factory=IgmpSettings)
    route: tuple[RouteSettings, ...] = ()
    dataplane: DataplaneSettings = field(default_factory=DataplaneSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, as `from_json` takes them."""
        plain = asdict(replace(self, interface=(), route=()))   # asdict copies all it meets, and there may be thousands
        plain["interface"] = [interface_to_json(each) for each in self.interface]
        plain["route"] = [route_to_json(each) for each in self.route]
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Settings":
        """The settings of an already validated `to_json`."""
        return cls(
            mode=plain["mode"],
            interface=tuple(interface_from_json(each) for each in plain["interface"]),
            igmp=IgmpSettings(**_with_tuples(plain["igmp"])),
            route=tuple(route_from_json(each) for each in plain["route"]),
            dataplane=DataplaneSettings(**plain["dataplane"]),
            control=ControlSettings(**plain["control"]),
            process=ProcessSettings(**plain["process"]),
        )


def interface_to_json(settings: InterfaceSettings) -> dict[str, Any]:
    """What an interface's settings say beyond the defaults."""
    return {key: value for key, value in vars(settings).items() if value != _DEFAULTS[key]}


def interface_from_json(plain: dict[str, Any]) -> InterfaceSettings:
    """One interface's settings of an already validated dictionary; it holds what that says and no more."""
    return interface_holding(_with_tuples(plain))


def interface_holding(said: dict[str, Any]) -> InterfaceSettings:
    """One interface's settings of what they say, as it is held."""
    settings = object.__new__(InterfaceSettings)
    vars(settings).update(said)
    return settings


def route_to_json(route: RouteSettings) -> dict[str, Any]:
    """One static route, as `route_from_json` takes it."""
    return {"group": route.group, "source": route.source, "upstream": route.upstream, "interfaces": route.interfaces}


def route_from_json(plain: dict[str, Any]) -> RouteSettings:
    """One static route of an already validated dictionary."""
    return RouteSettings(**_with_tuples(plain))


def _with_tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the settings have tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
