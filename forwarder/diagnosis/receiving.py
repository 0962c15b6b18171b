"""The steps on the receiver's side: its interface, who queries there, and whether its report was heard. Pure."""

from forwarder.diagnosis import causes
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.refused import trouble, who
from forwarder.diagnosis.rungs import Found, ago, bad, broken, good
from forwarder.diagnosis.unwanted import NOBODY, named
from forwarder.state.contradictions import words_of_route
from forwarder.state.ports import Port
from igmp.link import format_address

DROPPED = tuple(f"rx_bad_{what}" for what in ("checksum", "length", "group", "ip", "source", "ttl", "dst"))
"""Counters of reports that were dropped: what asked for nothing that could be read is no refused join."""
CAPTURE = "see whether its report arrives (tcpdump -ni {0} igmp); a switch or a firewall in between may keep it"


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


def route(case: Case) -> Found | None:
    """Whether a static route decides instead of members."""
    said = case.route
    if said is None:
        return None
    words = words_of_route(said)
    if case.port is not None and not case.ruled:
        remedy = f"mcfwd route add {said.group} --interfaces {case.port.name}, or delete the route"
        return bad(case.unwanted.ruled(said), remedy)
    if case.port is None and not said.interfaces:
        return bad(case.unwanted.ruled(said), f"delete the route (mcfwd route del {said.group}), or give it interfaces")
    return good(f"the static route {words} sends it, whoever has joined")


def querier(case: Case) -> Found | None:
    """Who queries on the receiver's link."""
    port = case.port
    if port is None or port.role != "downstream":
        return None
    said = case.facts.situation.memberships.get(port.index)
    known = said is not None and said.stamp == port.assigned and said.querier is not None
    if said is None or not known:
        return _unsaid(case, port)
    if said.querier:
        own = format_address(said.querier_address) if said.querier_address else "0.0.0.0"
        return good(f"we are the querier of {port.name} ({own})")
    if case.ruled or port.index in case.facts.anyway:
        why = "the static route" if case.ruled else "forward_when_not_querier"
        return good(f"{causes.querier_name(said.querier_address)} is the querier of {port.name}; {why} sends anyway")
    return broken(causes.lost_election(port, said))


def _unsaid(case: Case, port: Port) -> Found | None:
    if case.ruled or case.facts.agent is None:
        return None
    return bad(f"mcfwd has not begun to ask on {port.name}", "wait a moment; if it stays so, see the log")


def report(case: Case) -> Found | None:
    """Whether somebody there was heard to want it, or refused."""
    if case.ruled:
        return None
    if case.port is None:
        remedy = "join it on a downstream interface; mcfwd show groups and mcfwd show refusals say who asks for what"
        return bad(NOBODY + case.unwanted.deaf, remedy) if case.facts.receiver is None else None
    if case.facts.agent is None:
        return _by_routes(case, case.port)
    if case.membership is not None:
        return good(_heard(case, case.port))
    return _unheard(case, case.port)


def _by_routes(case: Case, port: Port) -> Found | None:
    """What is known where the agent does not answer."""
    wanted = any(ports >> port.index & 1 for ports in case.facts.members.values())
    return good(f"somebody on {port.name} has joined; who, the agent would know") if wanted else None


def _heard(case: Case, port: Port) -> str:
    row, wish = case.membership, case.wish
    assert row is not None
    if wish is not None:
        return f"{who(wish)} asked for it on {port.name}{_by_version(row)}, {_since(case, row)}"
    others = f"{format_address(row['last_reporter'])} asked for it" if row["last_reporter"] else "somebody asked for it"
    if row["static"] and not row["last_reporter"]:
        others = "the configuration (static_groups, or mcfwd group add) wants it"
        return f"{others} on {port.name}"
    said = f"{others} on {port.name}{_by_version(row)}, {_since(case, row)}"
    if case.host is None or case.host == row["last_reporter"]:
        return said
    return f"{format_address(case.host)} is not known to have asked itself, but the link has it: {said}"


def _by_version(row: dict[str, object]) -> str:
    return f" in IGMPv{row['compatibility']}"


def _since(case: Case, row: dict[str, object]) -> str:
    heard = row.get("heard")
    return ago(heard) if isinstance(heard, float) else "before the agent was restarted"


def _unheard(case: Case, port: Port) -> Found:
    if case.refusal is not None:
        return broken(trouble(case.refusal, port.name))
    asker = "nobody" if case.host is None else format_address(case.host)
    verb = "has" if case.host is None else "has not"
    words = f"{asker} {verb} asked for {format_address(case.facts.group)} on {port.name}{_damaged(case, port)}"
    return bad(words, f"have the receiver join it there, and {CAPTURE.format(port.name)}")


def _damaged(case: Case, port: Port) -> str:
    said = case.facts.situation.memberships.get(port.index)
    counters = said.counters if said is not None and said.stamp == port.assigned else {}
    dropped = [f"{name} {counters[name]}" for name in DROPPED if counters.get(name)]
    return f"; IGMP that was dropped there: {', '.join(dropped)}" if dropped else ""


def filtered(case: Case) -> Found | None:
    """Whether the sources that are wanted are those that send."""
    row = case.membership
    if row is None or case.ruled or case.port is None:
        return None
    wanted = [format_address(each) for each, _ in row["sources"]] if row["mode"] == "include" else None
    blocked = [format_address(each) for each in row["excluded_sources"]]
    what = f"only {named(wanted)}" if wanted is not None else f"all but {named(blocked)}" if blocked else "any source"
    sources = [case.facts.source] if case.facts.source is not None else [flow.source for flow in case.asked]
    if sources and not any(map(case.admits, sources)):
        comes = named([format_address(each) for each in sources])
        verb = "was asked about" if case.facts.source is not None else "is what comes"
        remedy = "join that source too, or any source, or send from the one that is wanted"
        return bad(f"{what} is wanted on {case.port.name}, and {comes} {verb}", remedy)
    return good(f"{what} is wanted on {case.port.name}")
