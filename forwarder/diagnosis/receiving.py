"""The steps on the receiver's link: static routes, who queries there, and whether its report was heard. Pure."""

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
