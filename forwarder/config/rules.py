"""What the configuration must fulfil beyond types and ranges: the meaning of texts, and keys that concern each other.

Pure functions from settings to problems (key, what is wrong); nothing is raised and nothing read from the system.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache

from forwarder.state import static_groups
from forwarder.state.ring_memory import least_memory
from forwarder.state.roles import is_outward
from forwarder.state.settings import (
    MOST_PORTS,
    IgmpSettings,
    InterfaceSettings,
    RouteSettings,
    Settings,
    covers,
    igmp_of,
    interface_to_json,
    is_wildcard,
)
from forwarder.state.static_groups import MOST, MOST_OF_PORT, AddressRange, AddressRangeError, is_single
from forwarder.units import size
from igmp.access import WORDS
from igmp.link import Network, parse_address
from igmp.parameters import LONGEST_V2_RESPONSE

Problem = tuple[str, str]               # key, what is wrong
MULTICAST = Network.parse("224.0.0.0/4")
LINK_LOCAL = Network.parse("224.0.0.0/24")
SHORTEST_REPORT_INTERVAL = 1.0          # seconds in which thousands of groups may have to be said again
LONGEST_NAME = 15                       # IFNAMSIZ less its zero
LONGEST_SOCKET_PATH = 107               # sun_path less its zero, unix(7)
LARGEST_SETTINGS = 1 << 20              # bytes of JSON: a quarter of a snapshot, half of which is for ports


def quote(value: object) -> str:
    """A value as the user may have written it, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def of_interface(interface: InterfaceSettings) -> Iterator[Problem]:
    """What is wrong with one `[[interface]]`."""
    if problem := name_problem(interface.name):
        yield "name", problem
    for at, text in enumerate(interface.altnets or ()):
        if problem := _network_problem(text) or _source_problem(text):
            yield f"altnets[{at}]", problem
    address = interface.querier_address
    if address is not None and not _is_unicast(address):
        yield "querier_address", f"should be a unicast IPv4 address, not {quote(address)}"
    if interface.quick_leave and interface.quick_leave_untracked:
        yield "quick_leave_untracked", "contradicts quick_leave, which never cuts off another receiver; set one only"
    for key, problem_of in _LISTS.items():
        if texts := getattr(interface, key):    # empty on nearly all of thousands
            yield from _each(key, texts, problem_of)
    if interface.static_groups and (many := _static_size(interface)) > MOST_OF_PORT:
        yield "static_groups", f"these are {many} memberships; an interface has {MOST_OF_PORT} at most"


def of_settings(settings: Settings) -> Iterator[Problem]:
    """What is wrong with keys that concern each other, and with the tables that exist once."""
    yield from _roles(settings)
    yield from _timers(settings)
    yield from _tables(settings)
    yield from of_memory(settings)
    yield from _static(settings)
    yield from _size(settings)


def name_problem(name: str) -> str | None:
    """What the kernel would not take as an interface name (dev_valid_name, net/core/dev.c)."""
    if not name:
        return "an interface name is empty"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:      # half of a character of two code units, which JSON can write and nobody can print
        return f"{quote(name)} is not Unicode text"
    if length > LONGEST_NAME:
        return f"{quote(name)} is longer than {LONGEST_NAME} characters"
    if ":" in name:
        return f"{quote(name)} is an alias address, not an interface; name the interface {quote(name.split(':')[0])}"
    if name in (".", "..") or "/" in name or "\0" in name or name.split() != [name]:
        return f"{quote(name)} cannot be an interface name"
    return None


_network = lru_cache(64)(Network.parse)    # each rule reads the same text anew: of a route some ten times


def _network_problem(text: str) -> str | None:
    try:
        network = _network(text)
    except ValueError:
        return f'should be a network such as "10.0.0.0/8", not {quote(text)}'
    plain = Network(network.network_address, network.prefix)
    return None if plain == network else f"{quote(text)} has host bits set; write {quote(str(plain))}"


def _source_problem(text: str) -> str | None:
    network = _network(text)
    inside = network.prefix >= MULTICAST.prefix and MULTICAST.contains(network.address)
    return f"{quote(text)} is multicast, not a network of sources" if inside else None


def _is_unicast(text: str) -> bool:
    try:
        address = parse_address(text)
    except ValueError:
        return False
    return 0 < address < MULTICAST.address


def _roles(settings: Settings) -> Iterator[Problem]:
    """Without an upstream it takes two networks between which is forwarded."""
    served = [interface for interface in settings.interface if interface.role != "disabled"]
    if not settings.interface:
        yield "interface", "none is named; name one upstream (-u) and at least one downstream (-d), or two downstream"
    elif not any(is_outward(interface.role) for interface in served):
        yield "interface", 'none has role = "downstream" (-d): nobody could receive'
    elif len(served) == 1 and not is_wildcard(served[0].name):
        words = f"{quote(served[0].name)} is the only one: nothing could come from elsewhere"
        yield "interface", f'{words}; name one with role = "upstream" (-u), or another LAN (-d)'


def _timers(settings: Settings) -> Iterator[Problem]:
    """Values that do not go together, where they were said: what `[igmp]` says is wrong once for all interfaces."""
    igmp = settings.igmp
    said: dict[str, str] = {}
    if igmp.query_response_interval >= igmp.query_interval:
        shorter = f"should be less than query_interval ({igmp.query_interval:g})"
        said["igmp.query_response_interval"] = f"{shorter}, not {igmp.query_response_interval:g}"
    if 0 < igmp.report_interval < SHORTEST_REPORT_INTERVAL:
        said["igmp.report_interval"] = _too_often(igmp.report_interval)
    for at, own in enumerate(settings.interface):
        if 0 < (own.report_interval or 0) < SHORTEST_REPORT_INTERVAL:
            said[f"interface[{at}].report_interval"] = _too_often(own.report_interval)
        held = igmp_of(igmp, own)
        if own.role != "disabled" and (held is not igmp or own.igmp_version in (1, 2)):
            for key, text in (*_own_interval(at, own, held), *_old_responses(at, own, held)):
                said.setdefault(key, text)
    yield from said.items()


def _too_often(interval: float | None) -> str:
    return f"should be 0 (off) or at least {SHORTEST_REPORT_INTERVAL:g}, not {interval:g}"


def _own_interval(at: int, own: InterfaceSettings, held: IgmpSettings) -> Iterator[Problem]:
    """An interval of an interface that is none with the other one, be that its own or that of `[igmp]`."""
    if held.query_response_interval < held.query_interval:
        return
    if own.query_response_interval is not None:
        shorter = f"should be less than query_interval ({held.query_interval:g})"
        yield f"interface[{at}].query_response_interval", f"{shorter}, not {own.query_response_interval:g}"
    elif own.query_interval is not None:
        longer = f"should be more than query_response_interval ({held.query_response_interval:g})"
        yield f"interface[{at}].query_interval", f"{longer}, not {own.query_interval:g}"


def _old_responses(at: int, own: InterfaceSettings, held: IgmpSettings) -> Iterator[Problem]:
    """What the older queries of an interface have no room for."""
    if own.role != "downstream" or own.igmp_version not in (1, 2):
        return
    for name in ("query_response_interval", "last_member_query_interval"):
        value: float = getattr(held, name)
        if value > LONGEST_V2_RESPONSE:
            limit = f"at most {LONGEST_V2_RESPONSE:g} fits the IGMPv{own.igmp_version} queries of {own.name}"
            yield f"{'igmp' if getattr(own, name) is None else f'interface[{at}]'}.{name}", f"{limit}, not {value:g}"


def _tables(settings: Settings) -> Iterator[Problem]:
    yield from of_ports(settings)
    for key, problem in _each("ssm_range", settings.igmp.ssm_range, groups_problem):
        yield f"igmp.{key}", problem
    path = settings.control.socket
    if path is not None and not 0 < len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield "control.socket", f"a socket path has 1 to {LONGEST_SOCKET_PATH} bytes, this one {len(os.fsencode(path))}"
    if settings.control.socket_group is not None and settings.control.socket_mode == "0600":
        yield "control.socket_mode", '"0600" keeps socket_group out; write "0660"'


def of_ports(settings: Settings) -> Iterator[Problem]:
    """What is wrong where not every interface that is named could have a port."""
    named = sum(interface.role != "disabled" for interface in settings.interface)
    most = settings.dataplane.max_ports
    if named > (most or MOST_PORTS):
        words = f"{most} is less than the {named} interfaces named"
        yield "dataplane.max_ports", words if most else f"{named} interfaces are named, {MOST_PORTS} can be"


def of_memory(settings: Settings) -> Iterator[Problem]:
    """What is wrong where not every interface that is named could have a receive ring."""
    named = sum(each.role != "disabled" and not is_wildcard(each.name) for each in settings.interface)
    sizes = settings.dataplane
    needed = least_memory(named, sizes.workers)
    if needed > sizes.ring_memory:
        rings = f"receive rings of {named} interfaces for {sizes.workers} worker{'s'[: sizes.workers > 1]}"
        yield "dataplane.ring_memory", f"{size(sizes.ring_memory)} is less than the {size(needed)} that {rings} need"


# --- lists, static groups and static routes ---


def _size(settings: Settings) -> Iterator[Problem]:
    """What all processes are told at once has to fit: settings, and ports beside them."""
    taken = len(json.dumps(settings.to_json()))
    if taken <= LARGEST_SETTINGS:
        return
    lists = [
        (len(json.dumps(value)), f"interface[{at}].{key}")
        for at, entry in enumerate(settings.interface)
        for key, value in interface_to_json(entry).items()
    ]
    longest = max(lists, default=(0, "route"))[1]
    yield longest, f"is too long: all settings together take {taken} bytes, and there is room for {LARGEST_SETTINGS}"


def groups_problem(text: str) -> str | None:
    """What is wrong with a network of groups, or a single one."""
    if problem := _network_problem(text):
        return problem
    network = _network(text)
    inside = network.prefix >= MULTICAST.prefix and MULTICAST.contains(network.address)
    return None if inside else f"{quote(text)} is not a range of groups"


def _sources_problem(text: str) -> str | None:
    return _network_problem(text) or _source_problem(text)


def _entry_problem(text: str) -> str | None:
    """What is wrong with an entry of an access list: "239.0.0.0/8", or the source first: "10.0.0.0/8,239.0.0.0/8"."""
    source, comma, group = (part.strip() for part in text.rpartition(","))
    if comma and (problem := _sources_problem(source)):
        return f"{problem} (before the comma is the source)"
    return groups_problem(group)


def _rule_problem(text: str) -> str | None:
    """What is wrong with an entry of a list in an order: one as above behind the word that says what becomes of it."""
    word, *entry = text.split(None, 1) or [""]
    if word not in WORDS or not entry:
        return f'should be an entry behind allow or deny, such as "deny 239.1.1.1", not {quote(text)}'
    return _entry_problem(entry[0])


def _contribution_problem(text: str) -> str | None:
    """The same, where an entry alone allows."""
    return _rule_problem(text) if (text.split() or [""])[0] in WORDS else _entry_problem(text)


def membership_problem(text: str) -> str | None:
    """What is wrong with a static group, or one to join: "239.1.2.3", or "10.0.0.7,232.1.1.1" with the source first."""
    source, comma, group = (part.strip() for part in text.rpartition(","))
    if comma and not _is_unicast(source):
        return f"should begin with a unicast IPv4 address, not {quote(source)}"
    try:
        address = parse_address(group)
    except ValueError:
        return f'should be a group such as "239.1.2.3" or "10.0.0.7,232.1.1.1", not {quote(text)}'
    if not MULTICAST.contains(address):
        return f"{quote(group)} is not a group"
    return f"{quote(group)} is link-local and never forwarded" if LINK_LOCAL.contains(address) else None


def static_problem(text: str) -> str | None:
    """What is wrong with an entry of static groups: one as above, or with a range of groups, of sources or of both."""
    if is_single(text):
        return membership_problem(text)
    sources, comma, groups = text.rpartition(",")
    if comma and (problem := _span_problem(sources.strip(), _sources_span_problem)):
        return problem
    return _span_problem(groups.strip(), _groups_span_problem)


def _span_problem(text: str, problem_of: Callable[[AddressRange], str | None]) -> str | None:
    try:
        problem = problem_of(AddressRange.parse(text))
    except AddressRangeError as error:
        problem = str(error)
    except ValueError:
        return f'should be a range such as "239.1.1.1-239.1.1.64" or "239.1.1.0/26", not {quote(text)}'
    return problem and f"{quote(text)} {problem}"


def _groups_span_problem(span: AddressRange) -> str | None:
    if not (MULTICAST.contains(span.first) and MULTICAST.contains(span.last)):
        return "is not a range of groups"
    return "has link-local groups, which are never forwarded" if span.meets(LINK_LOCAL) else None


def _sources_span_problem(span: AddressRange) -> str | None:
    return None if 0 < span.first <= span.last < MULTICAST.address else "is not a range of unicast addresses"


def _static_size(interface: InterfaceSettings) -> int:
    """How many memberships the static groups of an interface are; 0 where they are not valid."""
    texts = interface.static_groups
    return 0 if any(map(static_problem, texts)) else static_groups.size(texts)


def ssm_problem(text: str, settings: Settings) -> str | None:
    """What is wrong with an otherwise valid static group in the range of source-specific groups (RFC 4604)."""
    source, _, group = text.rpartition(",")
    if source or not settings.igmp.ssm_range:
        return None
    span = AddressRange.parse(group)
    if not any(span.meets(_network(each)) for each in settings.igmp.ssm_range):
        return None
    return f'{quote(group.strip())} is in ssm_range: name its source too, as in "10.0.0.7,{group.strip()}"'


def of_route(route: RouteSettings) -> Iterator[Problem]:
    """What is wrong with one static route by itself."""
    if problem := groups_problem(route.group):
        yield "group", problem
    elif LINK_LOCAL.contains(_network(route.group).address) and _network(route.group).prefix >= 24:
        yield "group", f"{quote(route.group)} is link-local and never forwarded"
    if route.source is not None and (problem := _sources_problem(route.source)):
        yield "source", problem
    if route.upstream is not None and (problem := name_problem(route.upstream)):
        yield "upstream", problem
    yield from _each("interfaces", route.interfaces, name_problem)
    for at, name in enumerate(route.interfaces):
        if name == route.upstream and not is_wildcard(name):   # of those that it covers, each has it from the others
            yield f"interfaces[{at}]", f"{quote(name)} is where the group comes from"
        if name in route.interfaces[:at]:
            yield f"interfaces[{at}]", f"{quote(name)} is named twice"


def unknown_names(route: RouteSettings, problem_of: Callable[[str], str | None]) -> Iterator[Problem]:
    """The names of a route that could never be a port of a configuration, of which `problem_of` is `port_problem`."""
    said = [("upstream", route.upstream), *((f"interfaces[{at}]", each) for at, each in enumerate(route.interfaces))]
    for key, name in said:
        if name is not None and (problem := problem_of(name)):
            yield key, problem


def port_problem(name: str, settings: Settings) -> str | None:
    """Why a name or wildcard could never be a port of this configuration."""
    if may_be_port(name, settings):
        return None
    return f"{quote(name)} is disabled" if _is_disabled(name, settings) else f"no [[interface]] covers {quote(name)}"


def may_be_port(name: str, settings: Settings) -> bool:
    """Whether a name or wildcard is covered by the configuration, so that a port can have it now or later."""
    served = [each.name for each in settings.interface if each.role != "disabled"]
    if is_wildcard(name):
        return any(is_wildcard(each) or covers(name, each) for each in served)
    return any(covers(each, name) for each in served) and not _is_disabled(name, settings)


def _is_disabled(name: str, settings: Settings) -> bool:
    """Whether a plain name, which wins over wildcards, is that of a disabled interface."""
    return any(each.name == name and each.role == "disabled" for each in settings.interface)


def identity(route: RouteSettings) -> tuple[Network, Network | None, str | None]:
    """What a route speaks of; there is one route for it at most."""
    source = None if route.source is None else _network(route.source)
    return _network(route.group), source, route.upstream


def membership(text: str) -> tuple[int | None, int]:
    """Source (None: any) and group of a valid static group."""
    source, _, group = text.rpartition(",")
    return parse_address(source.strip()) if source else None, parse_address(group.strip())


def _each(key: str, texts: Sequence[str], problem_of: Callable[[str], str | None]) -> Iterator[Problem]:
    for at, text in enumerate(texts):
        if problem := problem_of(text):
            yield f"{key}[{at}]", problem


def _static(settings: Settings) -> Iterator[Problem]:
    """What is wrong with static routes and groups, beside the other keys."""
    known: dict[object, int] = {}
    problem_of_port = cache(lambda name: port_problem(name, settings))     # looks at all interfaces, for few names
    for at, route in enumerate(settings.route):
        problems = list(of_route(route)) or list(unknown_names(route, problem_of_port))
        yield from ((f"route[{at}].{key}", text) for key, text in problems)
        first = at if problems else known.setdefault(identity(route), at)
        if first != at:
            yield f"route[{at}]", f"is the same as route[{first}]: group, source and upstream agree"
    if any(map(groups_problem, settings.igmp.ssm_range)):
        return
    for at, interface in enumerate(settings.interface):
        for key, texts, problem_of in (("static_groups", interface.static_groups, static_problem),
                                       ("join", interface.join, membership_problem)):  # fmt: skip
            for number, text in enumerate(texts):
                if not problem_of(text) and (problem := ssm_problem(text, settings)):
                    yield f"interface[{at}].{key}[{number}]", problem
    sizes = [_static_size(each) for each in settings.interface if each.static_groups]
    if (many := sum(size for size in sizes if size <= MOST_OF_PORT)) > MOST:
        yield "interface", f"all static_groups together are {many} memberships; there is room for {MOST}"


_LISTS = {"allow": _entry_problem, "deny": _entry_problem, "access": _rule_problem, "boundary": groups_problem,
          "contribute": _contribution_problem, "static_groups": static_problem, "join": membership_problem}  # fmt: skip
"""What is wrong with an entry, by the key of an interface that is a list."""
