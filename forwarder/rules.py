"""What the configuration must fulfil beyond types and ranges: the meaning of texts, and keys that concern each other.

Pure functions from settings to problems (key, what is wrong); nothing is raised and nothing read from the system.
"""

import json
import os
from collections.abc import Iterator
from ipaddress import IPv4Address

from forwarder.state.settings import InterfaceSettings, Settings
from igmp.link import Network
from igmp.parameters import LONGEST_V2_RESPONSE

Problem = tuple[str, str]               # key, what is wrong
MULTICAST = Network.parse("224.0.0.0/4")
LONGEST_NAME = 15                       # IFNAMSIZ less its zero
LONGEST_SOCKET_PATH = 107               # sun_path less its zero, unix(7)


def quote(value: object) -> str:
    """A value as the user may have written it, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def of_interface(interface: InterfaceSettings) -> Iterator[Problem]:
    """What is wrong with one `[[interface]]`."""
    if problem := _name_problem(interface.name):
        yield "name", problem
    for at, text in enumerate(interface.altnets or ()):
        if problem := _network_problem(text) or _source_problem(text):
            yield f"altnets[{at}]", problem
    address = interface.querier_address
    if address is not None and not _is_unicast(address):
        yield "querier_address", f"should be a unicast IPv4 address, not {quote(address)}"


def of_settings(settings: Settings) -> Iterator[Problem]:
    """What is wrong with keys that concern each other, and with the tables that exist once."""
    yield from _roles(settings)
    yield from _timers(settings)
    yield from _tables(settings)


def _name_problem(name: str) -> str | None:
    """What the kernel would not take as an interface name (dev_valid_name, net/core/dev.c)."""
    if not name:
        return "an interface name is empty"
    if len(os.fsencode(name)) > LONGEST_NAME:
        return f"{quote(name)} is longer than {LONGEST_NAME} characters"
    if ":" in name:
        return f"{quote(name)} is an alias address, not an interface; name the interface {quote(name.split(':')[0])}"
    if name in (".", "..") or "/" in name or "\0" in name or any(character.isspace() for character in name):
        return f"{quote(name)} cannot be an interface name"
    return None


def _network_problem(text: str) -> str | None:
    try:
        network = Network.parse(text)
    except ValueError:
        return f'should be a network such as "10.0.0.0/8", not {quote(text)}'
    plain = Network(network.network_address, network.prefix)
    return None if plain == network else f"{quote(text)} has host bits set; write {quote(str(plain))}"


def _source_problem(text: str) -> str | None:
    network = Network.parse(text)
    inside = network.prefix >= MULTICAST.prefix and MULTICAST.contains(network.address)
    return f"{quote(text)} is multicast; altnets are networks of sources" if inside else None


def _is_unicast(text: str) -> bool:
    try:
        address = int(IPv4Address(text))
    except ValueError:
        return False
    return 0 < address < MULTICAST.address


def _roles(settings: Settings) -> Iterator[Problem]:
    roles = [interface.role for interface in settings.interface]
    if not roles:
        yield "interface", "none is named; name one upstream (-u) and at least one downstream (-d)"
        return
    if "upstream" not in roles:
        yield "interface", 'none has role = "upstream" (-u): groups would be joined nowhere'
    if "downstream" not in roles:
        yield "interface", 'none has role = "downstream" (-d): nobody could receive'


def _timers(settings: Settings) -> Iterator[Problem]:
    igmp = settings.igmp
    if igmp.query_response_interval >= igmp.query_interval:
        shorter = f"should be less than query_interval ({igmp.query_interval:g})"
        yield "igmp.query_response_interval", f"{shorter}, not {igmp.query_response_interval:g}"
    old = next((each for each in settings.interface if each.igmp_version in (1, 2) and each.role == "downstream"), None)
    if old is None:
        return
    for name in ("query_response_interval", "last_member_query_interval"):
        value = getattr(igmp, name)
        if value > LONGEST_V2_RESPONSE:
            limit = f"at most {LONGEST_V2_RESPONSE:g} fits the IGMPv{old.igmp_version} queries of {old.name}"
            yield f"igmp.{name}", f"{limit}, not {value:g}"


def _tables(settings: Settings) -> Iterator[Problem]:
    named = sum(interface.role != "disabled" for interface in settings.interface)
    if named > settings.dataplane.max_ports:
        yield "dataplane.max_ports", f"{settings.dataplane.max_ports} is less than the {named} interfaces named"
    text = settings.igmp.ssm_range
    if problem := _network_problem(text) or _group_problem(text):
        yield "igmp.ssm_range", problem
    path = settings.control.socket
    if path is not None and not 0 < len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield "control.socket", f"a socket path has 1 to {LONGEST_SOCKET_PATH} bytes, this one {len(os.fsencode(path))}"


def _group_problem(text: str) -> str | None:
    network = Network.parse(text)
    inside = network.prefix >= MULTICAST.prefix and MULTICAST.contains(network.address)
    return None if inside else f"{quote(text)} is not a range of groups"
