"""All facts of a configuration on this machine, and of an instance that runs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

from forwarder.command.examining import ethtool, kernel, limits, link_details, processes, tables
from forwarder.command.examining.files import number, text
from forwarder.command.examining.instance import Answers
from forwarder.command.examining.link_details import LinkDetails
from forwarder.command.examining.packet_filters import PacketFilters
from forwarder.diagnosis.doctor import offloads
from forwarder.diagnosis.doctor.facts import (
    Doubted,
    ExaminedFlow,
    Facts,
    InterfaceFacts,
    LocalReceiver,
    LocalSender,
    OtherFacts,
    ProgramFacts,
)
from forwarder.state.ports import Configuration, Port
from forwarder.state.settings import InterfaceSettings, Settings, igmp_of
from forwarder.supervisor.assignment import Assignment
from forwarder.supervisor.capacity import fitted
from forwarder.supervisor.doubts import HOMELESS, NAMELESS, Surroundings, doubts, others
from forwarder.supervisor.link_watch import current_links
from forwarder.supervisor.links import KernelLink, enslaved, obstacle
from forwarder.supervisor.surroundings import KERNEL_VIFS, default_interface, kernel_routed
from igmp.link import format_address

PROC = Path("/proc")
MOST_DEVICES = 1024     # whose offloads are asked for: 10 µs each
FEATURES = (offloads.GRO, offloads.FORWARDING, offloads.UDP)
KERNEL_CACHE = "ip_mr_cache"
GROUPS, LINK_LOCAL, LOCAL_SCOPE = map(IPv4Network, ("224.0.0.0/4", "224.0.0.0/24", "239.255.0.0/16"))


def gather(
    settings: Settings | None, problems: Iterable[str], answers: Answers, proc: Path = PROC
) -> Facts:
    """`settings`: of the file or the command line, None for none; then the interfaces are those of the instance."""
    filters = PacketFilters()       # first, so that they work while we do
    links, details, unseen = _links()
    known = settings or _of_instance(answers)
    ports = _ports(known, links)
    around = _around(answers, proc)
    found = _Gatherer(known, links, details, answers, proc)
    return Facts(
        kernel=kernel.facts(next((each.ifindex for each in links.values() if each.loopback), 0)),
        instance=answers.facts,
        configured=bool(settings or answers.interfaces),
        problems=tuple(problems),
        unseen=unseen,
        interfaces=found.interfaces(ports),
        known=tuple(name for name, link in links.items() if not obstacle(link)),
        others=_others(around, answers, proc),
        limits=limits.facts(settings, len(ports), answers.supervisor, proc),
        programs=found.programs(ports, around.default),
        flows=tuple(_with_altnets(answers.flows, ports)),
        doubted=tuple(_doubted(settings, ports, links, around)),
        firewall=filters.facts(),
    )


def _links() -> tuple[dict[str, KernelLink], dict[int, LinkDetails], str]:
    """All links, what they are made of, and why neither can be told."""
    try:
        return current_links(), link_details.details(), ""
    except OSError as error:
        return {}, {}, str(error.strerror or error)


def _of_instance(answers: Answers) -> Settings:
    """As far as an instance tells how it is configured."""
    roles = [(name, row.get("role")) for name, row in answers.interfaces.items()]
    named = (InterfaceSettings(name=name, role=role) for name, role in roles if role in ("upstream", "downstream"))
    return Settings(interface=tuple(named))


def _ports(settings: Settings, links: Mapping[str, KernelLink]) -> tuple[Port, ...]:
    settings = fitted(settings, links)
    return Assignment(settings.dataplane.ports).updated(settings, links, 1)[1]


def _around(answers: Answers, proc: Path) -> Surroundings:
    """Where there is an instance, who serves its interfaces is itself."""
    claimed = frozenset() if answers.facts.exists else tables.claimed(text(proc / "net" / "unix"))
    return Surroundings(default_interface(), kernel_routed(proc / "net" / KERNEL_VIFS.name), claimed)


def _others(around: Surroundings, answers: Answers, proc: Path) -> OtherFacts:
    daemons, forwarders = processes.routing(set(answers.processes.values()), proc)
    entries = tables.entries(text(proc / "net" / KERNEL_CACHE))
    return OtherFacts(tuple(sorted(around.kernel_routed)), entries, daemons, forwarders)


def _doubted(
    settings: Settings | None, ports: tuple[Port, ...], links: Mapping[str, KernelLink], around: Surroundings
) -> Iterator[Doubted]:
    """What is doubtful about a configuration; of that of an instance we know the interfaces only."""
    if settings is None:
        found = others(ports, around)
    else:
        found = doubts(Configuration(1, fitted(settings, links), ports), links, around)
    return (Doubted(each.about, each.words) for each in found)


def _with_altnets(flows: Iterable[ExaminedFlow], ports: Iterable[Port]) -> Iterator[ExaminedFlow]:
    """Flows with those of their interfaces; what the configuration has allowed meanwhile is left out."""
    settings = {port.name: port.settings for port in ports}
    for flow in flows:
        own = settings.get(flow.interface)
        altnets = own.altnets if own else None
        if flow.verdict == "ttl_expired" or not _holds(altnets or (), flow.source):
            yield flow._replace(altnets=altnets)


def _holds(networks: Iterable[str], address: str) -> bool:
    with suppress(ValueError):
        return any(IPv4Address(address) in IPv4Network(each, strict=False) for each in networks)
    return False


class _Gatherer:
    """What is asked of each interface, of what was read of all links once."""

    def __init__(
        self, settings: Settings, links: Mapping[str, KernelLink], details: Mapping[int, LinkDetails],
        answers: Answers, proc: Path,
    ) -> None:  # fmt: skip
        self._settings, self._links, self._details, self._proc = settings, links, details, proc
        self._answers = answers
        self._macvlans = link_details.macvlans(details)

    def interfaces(self, ports: tuple[Port, ...]) -> tuple[InterfaceFacts, ...]:
        """Of each port, whether its interface exists or not."""
        features = ethtool.offloads([port.name for port in islice(ports, MOST_DEVICES) if port.ifindex], FEATURES)
        traffic: Mapping[int, tuple[tuple[str, int, str], ...]] = {}
        with suppress(OSError):
            traffic = link_details.traffic_filters(port.ifindex for port in ports if port.ifindex)
        found = []
        for port in ports:
            each = self._interface(port)
            found.append(replace(each, offloads=features.get(port.name, {}),
                                 traffic_filters=traffic.get(port.ifindex, ())))  # fmt: skip
        return tuple(found)

    def _interface(self, port: Port) -> InterfaceFacts:
        row, igmp = self._answers.interfaces.get(port.name, {}), igmp_of(self._settings.igmp, port.settings)
        lost = port.role == "downstream" and row.get("querier") is False
        facts = InterfaceFacts(
            name=port.name, role=port.role, state=port.state, degraded=str(row.get("degraded") or ""),
            queries=port.settings.querier, querier=str(row.get("querier_address") or "") if lost else None,
            forwards_anyway=igmp.forward_when_not_querier, transmit_failed=_drops(row, "transmit_failed"),
        )  # fmt: skip
        link, details = self._links.get(port.name), self._details.get(port.ifindex)
        return self._of_link(facts, port, link, details) if link and details else facts

    def _of_link(self, facts: InterfaceFacts, port: Port, link: KernelLink, details: LinkDetails) -> InterfaceFacts:
        bare = port.state == "up" and not (port.addresses or port.settings.querier_address)
        return replace(
            facts, admin_up=details.admin_up, kind=details.kind, unusable=obstacle(link) or "",
            enslaved=enslaved(link) or "", master_kind=link.master.kind if link.master else "",
            bare=(HOMELESS if port.role == "upstream" else NAMELESS) if bare else "",
            peer=link_details.peer_of(port.ifindex, self._details), macvlans=self._macvlans.get(port.ifindex, ()),
            macvlan_mode=details.mode, bridges=link_details.bridges_on_path(port.ifindex, self._details),
            reverse_path=self._reverse_path(port.name),
        )  # fmt: skip

    def _reverse_path(self, name: str) -> int:
        """The larger of both holds (ip-sysctl)."""
        conf = self._proc / "sys" / "net" / "ipv4" / "conf"
        return max(number(conf / each / "rp_filter") or 0 for each in ("all", name))

    def programs(self, ports: tuple[Port, ...], default: str | None) -> ProgramFacts:
        """What programs of this host have joined and connected on our interfaces."""
        net, indexes = self._proc / "net", {port.ifindex: port.name for port in ports if port.ifindex}
        sockets = list(tables.udp_sockets(text(net / "udp")))
        owners = {address: port.name for port in ports for address, _ in port.addresses}
        bound: dict[int, set[int]] = {}
        for each in sockets:
            bound.setdefault(each.local, set()).add(each.local_port)
        joined = [each for each in tables.joined(text(net / "igmp")) if each[0] in indexes and _is_routed(each[1])]
        receivers = [LocalReceiver(indexes[ifindex], format_address(group), tuple(sorted(bound.get(group, ()))))
                     for ifindex, group in joined]
        senders = [LocalSender(owners[each.local], format_address(each.remote), each.remote_port)
                   for each in sockets if each.local in owners and _is_routed(each.remote)]  # fmt: skip
        return ProgramFacts(tuple(receivers), tuple(dict.fromkeys(senders)), default, self._free())

    def _free(self) -> tuple[str, str, str]:
        """Names and a network for the recipe that nobody has here."""
        number = next(each for each in range(len(self._links) + 1)
                      if not {f"mcfwd{each}", f"local{each}"} & self._links.keys())  # fmt: skip
        taken = {address >> 8 for link in self._links.values() for address, _ in link.addresses}
        third = next((each for each in range(77, 255) if 0xC0A800 + each not in taken), 77)
        return f"mcfwd{number}", f"local{number}", f"192.168.{third}.1/24"


def _is_routed(group: int) -> bool:
    """Whether it is a group that mcfwd might forward, and not one of the local scope (RFC 2365), such as SSDP's."""
    address = IPv4Address(group)
    return address in GROUPS and address not in LINK_LOCAL and address not in LOCAL_SCOPE


def _drops(row: Mapping[str, object], reason: str) -> int:
    drops = row.get("drops")
    return int(drops.get(reason) or 0) if isinstance(drops, dict) else 0
