"""The steps at the receiver's interface, and what is asked of any: whether it is there, up, free and served. Pure."""

from forwarder.diagnosis import causes
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.rungs import Found, bad, broken, good
from forwarder.diagnosis.unwanted import named
from forwarder.state.ports import Port
from igmp.link import format_address


def group(case: Case) -> Found:
    """Whether such a group is ever forwarded."""
    number = case.facts.group
    if number >> 8 == 0xE00000 or number == 0xE8000000:
        return broken(causes.RESERVED)
    return good(f"{format_address(number)} is a group that can be forwarded")


def receiver(case: Case) -> Found | None:
    """Whether the receiver that was asked for is known, and is no address of ours."""
    if case.host is None:
        return None
    text = format_address(case.host)
    own = [port.name for port in case.facts.ports if any(case.host == address for address, _ in port.addresses)]
    if own:
        words = f"{text} is this host's own address, on {own[0]}: packet sockets do not reach programs on this host"
        return bad(words, "give them a veth pair (docs/operating.md, Programs on the forwarding host)")
    if case.port is None:
        words = f"nobody knows {text}: it is in no interface's subnet, and has not asked for this group anywhere"
        return bad(words, f"correct the address, or name its interface: {_names(case)}")
    return good(f"{text} is on {case.port.name}, {case.found}")


def _names(case: Case) -> str:
    return named([port.name for port in case.facts.ports]) or "there is none"


def interface(case: Case) -> Found | None:
    """Whether the receiver's interface is there."""
    if case.port is None:
        if case.facts.receiver is None or case.host is not None:
            return None
        words = f"mcfwd has no interface {ascii(case.facts.receiver)[1:-1]}"
        return bad(words, f"name one of its interfaces ({_names(case)}), or configure it")
    return there(case.port)


def there(port: Port) -> Found:
    """Whether a port has an interface."""
    if not port.ifindex:
        return broken(causes.not_up(port.name, "missing"))
    return good(f"{port.name} exists")


def up(case: Case) -> Found | None:
    """Whether it is up."""
    return None if case.port is None else is_up(case.port)


def is_up(port: Port) -> Found:
    """Whether a port is up."""
    return good(f"{port.name} is up") if port.up else broken(causes.not_up(port.name, "down"))


def member(case: Case) -> Found | None:
    """Whether something else takes what comes in there."""
    return None if case.port is None else is_free(case, case.port)


def is_free(case: Case, port: Port) -> Found:
    """Whether a port is none of a bridge or bond, which would take what comes in."""
    if words := case.facts.enslaved.get(port.index):
        words, _, remedy = words.partition(": ")
        return bad(words, f"{remedy}, or take {port.name} out of it (ip link set {port.name} nomaster)")
    return good(f"{port.name} is no port of a bridge or bond")


def served(case: Case) -> Found | None:
    """Whether it has its sockets."""
    return None if case.port is None else is_served(case, case.port)


def is_served(case: Case, port: Port) -> Found:
    """Whether the system refused a port nothing that it needs."""
    why = case.facts.situation.degraded.get(port.index)
    if why and port.index not in case.facts.enslaved:
        return bad(f"{port.name} is not served: {why}", "see the log and `mcfwd check`; it is tried again by itself")
    return good(f"{port.name} has its sockets")


def role(case: Case) -> Found | None:
    """Whether receivers are served there."""
    port = case.port
    if port is None:
        return None
    if port.role == "upstream" and not case.ruled:
        words = f"{port.name} is upstream: only downstream interfaces serve receivers"
        return bad(words, "make it downstream if it does not lead to the sources; receivers there have its link itself")
    return good(f"{port.name} is {port.role}")


def address(case: Case) -> Found | None:
    """Which address it has; without one it goes on, worse."""
    port = case.port
    if port is None:
        return None
    if port.addresses:
        own, prefix = port.addresses[0]
        return good(f"{port.name} has {format_address(own)}/{prefix}")
    asking = port.settings.querier_address
    return good(f"{port.name} has no address: it asks from {asking or '0.0.0.0, and any other querier wins'}")
