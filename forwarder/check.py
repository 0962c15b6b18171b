"""`mcfwd check`: what a valid configuration would run on this machine as it is now, in words.

Obstacles keep `mcfwd run` from starting; warnings do not, an interface that is missing is waited for.
"""

from collections.abc import Iterator, Mapping

from forwarder.agent.options import options_of
from forwarder.client import default_socket_path
from forwarder.diagnosis.doctor.kernel import NO_CAPABILITY
from forwarder.process import privileges
from forwarder.state.ports import Configuration, Port
from forwarder.state.ring_memory import least_memory
from forwarder.state.roles import arriving_threshold, is_inward
from forwarder.state.settings import ControlSettings, InterfaceSettings, RouteSettings, Settings, igmp_of, is_wildcard
from forwarder.state.static_groups import is_single, members
from forwarder.supervisor.assignment import Assignment
from forwarder.supervisor.capacity import fitted
from forwarder.supervisor.doubts import ALONE, Surroundings, doubts, ring_octets
from forwarder.supervisor.links import KernelLink, obstacle
from forwarder.units import count, listed, rate, size
from igmp.link import format_address
from igmp.parameters import Parameters

Links = Mapping[str, KernelLink]


def obstacles(settings: Settings, links: Links) -> list[str]:
    """Why this configuration cannot run here, whatever comes later."""
    named = {interface.name for interface in settings.interface if interface.role != "disabled"}
    return [problem for name in sorted(named & links.keys()) if (problem := obstacle(links[name]))]


def explain(
    settings: Settings, links: Links, privileged: bool | None = None, around: Surroundings = ALONE, children: str = ""
) -> list[str]:
    """The lines that say what would run; `privileged` None asks the system for CAP_NET_RAW.

    `around`: what there is beside the links; `children` says who they would be.
    """
    settings = fitted(settings, links)
    _, ports = Assignment(settings.dataplane.ports).updated(settings, links, 1)
    configuration = Configuration(1, settings, ports)
    if privileged is None:
        privileged = privileges.has_capability(privileges.CAP_NET_RAW)
    sections = {
        "interfaces": _interfaces(settings, ports),
        "static routes": map(_route, settings.route),
        "timers": _timers(settings, ports),
        "memory": _memory(settings, ports),
        "processes": [children] if children else [],
        "control socket": [_control(settings.control)],
        "warnings": [*_missing(privileged), *(doubt.words for doubt in doubts(configuration, links, around))],
    }
    return [line for title, lines in sections.items() for line in _section(title, list(lines))]


def _missing(privileged: bool) -> list[str]:
    return [] if privileged else [NO_CAPABILITY]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _interfaces(settings: Settings, ports: tuple[Port, ...]) -> Iterator[str]:
    for port in ports:
        yield f"{port.name:<15} {port.role:<10}  {port.state:<7}  {'; '.join(_port(settings, port))}"
    for interface in settings.interface:
        if is_wildcard(interface.name):
            matched = [port.name for port in ports if port.settings is interface]
            yield f"{interface.name:<15} {interface.role:<10}  matches {listed(matched, empty='nothing now')}"
        elif interface.role == "disabled":
            yield f"{interface.name:<15} {interface.role}"


def _port(settings: Settings, port: Port) -> Iterator[str]:
    """What is particular to one port."""
    options = options_of(port, settings.igmp)
    if port.addresses:
        yield listed([f"{format_address(address)}/{prefix}" for address, prefix in port.addresses])
    if is_inward(port.role):
        yield "IGMPv3 host with fallback" if options.igmp_version is None else f"IGMPv{options.igmp_version} host"
        if port.role == "both":
            yield "static routes alone lead from here and to here"
        if options.parameters.report_interval:
            yield f"reports all every {options.parameters.report_interval:g} s unasked"
        if options.parameters.linger:
            yield f"leaves {options.parameters.linger:g} s after the last member"
    else:
        yield f"IGMPv{options.igmp_version or 3} {'querier' if options.querier else 'without querying'}"
        if igmp_of(settings.igmp, port.settings).forward_when_not_querier:
            yield "forwards whoever the querier is"
        yield f"at most {count(options.max_groups)} groups"
        if options.quick_leave_untracked:
            yield "quick leave untracked, for a single receiver: whoever leaves ends the group"
        elif options.quick_leave:
            yield "quick leave"
    yield f"sources: {_sources(port)}"
    yield from _lists(port.settings, port.role)


def _lists(own: InterfaceSettings, role: str) -> Iterator[str]:
    """What may pass a port, how fast, and what is wanted there without a receiver."""
    if own.threshold > 1:
        way = "" if arriving_threshold(role, own.threshold) > 1 else ", out of it"
        yield f"TTL at least {own.threshold}{way}"
    if own.allow:
        yield f"only {listed(own.allow)}"
    if own.deny:
        yield f"not {listed(own.deny)}"
    if own.access:
        yield f"in this order: {listed(own.access)}"
    if own.boundary:
        yield f"boundary of {listed(own.boundary)}"
    if own.contribute is not None:
        yield f"contributes upstream: {listed(own.contribute, empty='nothing')}"
    if own.rate_limit is not None:
        yield f"at most {rate(own.rate_limit)}"
    if own.flow_rate_limit is not None:
        yield f"at most {rate(own.flow_rate_limit)} a flow"
    if own.static_groups:
        many = "" if all(map(is_single, own.static_groups)) else f" ({count(len(members(own.static_groups)))})"
        yield f"static groups: {listed(own.static_groups)}{many}"
    if own.join:
        yield f"joins {listed(own.join)}"


def _sources(port: Port) -> str:
    if port.settings.altnets is None:
        whole = is_inward(port.role) or (port.ifindex and not port.addresses)    # as dataplane/admission has it
        return "any that is in no other interface's subnet" if whole else "own subnets"
    return listed(["own subnets", *port.settings.altnets])


def _control(control: ControlSettings) -> str:
    """Where it is, and who may ask there beside whoever starts mcfwd."""
    path = control.socket or default_socket_path()
    if control.socket_mode == "0666":
        return f"{path}, for everybody on this machine"
    return path if control.socket_group is None else f"{path}, for group {control.socket_group}"


def _route(route: RouteSettings) -> str:
    source = f" from source {route.source}" if route.source else ""
    ingress = f" by {route.upstream}" if route.upstream else ""
    goes = f"goes to {listed(route.interfaces)}" if route.interfaces else "is blocked"
    return f"{route.group}{source}{ingress} {goes}"


def _timers(settings: Settings, ports: tuple[Port, ...]) -> Iterator[str]:
    """Of all downstream ports; where they are not all the same, of each kind with its ports."""
    kinds: dict[Parameters, list[str]] = {}
    for port in ports:
        if port.role == "downstream":
            kinds.setdefault(options_of(port, settings.igmp).parameters, []).append(port.name)
    for timers, names in kinds.items():
        for line in _timers_of(timers):
            yield f"{listed(names)}: {line}" if len(kinds) > 1 else line


def _timers_of(timers: Parameters) -> Iterator[str]:
    yield (
        f"a general query every {timers.query_interval:g} s, to be answered within {timers.query_response_interval:g} s"
        f" ({timers.startup_queries} at the start, {timers.startup_interval:g} s apart)"
    )
    yield f"a membership ends {timers.group_membership_interval:g} s after its last report"
    yield (
        f"after a leave: {timers.last_member_queries} queries {timers.last_member_query_interval:g} s apart,"
        f" the last member is gone {timers.last_member_query_time:g} s after it"
    )
    yield f"another querier is given up {timers.other_querier_present_interval:g} s after its last query"


def _memory(settings: Settings, ports: tuple[Port, ...]) -> Iterator[str]:
    sizes, rings = settings.dataplane, ring_octets(settings, ports)
    least = size(least_memory(len(ports), sizes.workers))
    total = size(sum(rings.values()))
    yield f"{total} of at most {size(sizes.ring_memory)} for receive rings, which need {least} at least"
    yield f"{count(sizes.ports)} ports, {count(sizes.max_flows)} flows, {count(sizes.max_routes)} routes at most"
