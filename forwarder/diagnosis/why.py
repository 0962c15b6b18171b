"""The answer to why a group does not arrive: which ports it is about, the chain of each, and the worst of them. Pure.

The receiver is a port's name or a host's address; a host is found where it asked, where it was refused, else by the
subnet of a port. Nobody in particular: every downstream port that wants the group, or the chain in general.
"""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any

from forwarder.diagnosis.case import Case, leads, refusals
from forwarder.diagnosis.chain import Chain, chain
from forwarder.diagnosis.facts import GroupFacts
from forwarder.diagnosis.unwanted import Unwanted
from forwarder.state.ports import Port
from igmp.link import Network, format_address, parse_address

MOST_CHAINS = 64        # of one answer: of more ports the first


def explain(facts: GroupFacts) -> dict[str, Any]:
    """`{group, receiver, interface, source, verdict, steps, chains, more}`: `steps` and `verdict` of the worst chain.

    `chains` has one object for each port, `{interface, verdict, steps}`; `more` counts those that found no room.
    """
    found = cases(facts)
    chains = sorted((chain(case) for case in found[:MOST_CHAINS]), key=lambda each: each.broken is None)
    worst = chains[0]
    return {
        "group": format_address(facts.group),
        "receiver": facts.receiver,
        "source": None if facts.source is None else format_address(facts.source),
        **_plain(worst),
        "chains": [_plain(each) for each in chains],
        "more": len(found) - len(chains),
    }


def _plain(each: Chain) -> dict[str, Any]:
    return {"interface": each.interface, "verdict": each.verdict, "steps": [link._asdict() for link in each.links]}


def cases(facts: GroupFacts) -> list[Case]:
    """One for each port that it is about; at least one."""
    unwanted = Unwanted(facts.ports, facts.situation.routes, {**facts.situation.degraded, **facts.enslaved})
    anywhere = Case(facts, unwanted)
    if facts.receiver is None:
        return [Case(facts, unwanted, port) for port in _wanting(anywhere)] or [anywhere]
    host = address_of(facts.receiver)
    if host is None:
        return [Case(facts, unwanted, next((port for port in facts.ports if port.name == facts.receiver), None))]
    at, how = next(_places(facts, host), (None, ""))
    return [Case(facts, unwanted, at, host, how)]


def _wanting(anywhere: Case) -> list[Port]:
    """The ports on which somebody asked for it, was refused, or is sent it by a static route.

    Where there is none: those on which nobody can be heard, since something is wrong with them; else the only one.
    """
    ports, said = anywhere.facts.ports, anywhere.agent
    heard = {row["port"] for row in (*said.groups, *refusals(said))}
    routed = reduce(or_, anywhere.facts.members.values(), 0)
    wanting = [
        port for port in ports
        if (port.index in heard and port.role != "upstream") or routed >> port.index & 1 or _is_sent(anywhere, port)
    ]  # fmt: skip
    downstream = [port for port in ports if port.role == "downstream"]
    deaf = {*anywhere.facts.enslaved, *anywhere.facts.situation.degraded}
    unheard = [port for port in downstream if port.up and port.index in deaf]
    return wanting or unheard or (downstream if len(downstream) == 1 else [])


def address_of(text: str) -> int | None:
    """The address of a receiver that is a host, None where it is a port."""
    try:
        return parse_address(text)
    except ValueError:
        return None


def _is_sent(anywhere: Case, port: Port) -> bool:
    """Whether a static route leads there."""
    return anywhere.route is not None and leads(anywhere.route, port)


def _places(facts: GroupFacts, host: int) -> Iterator[tuple[Port, str]]:
    """Where a host may be, the surest first, and how that is known."""
    said = facts.agent
    known = {port.index: port for port in facts.ports}
    for row in said.hosts if said is not None else ():
        if row["host"] == host and row["port"] in known:
            yield known[row["port"]], "where it asked"
    for row in said.refusals if said is not None else ():
        if row["host"] == host and row["port"] in known:
            yield known[row["port"]], "where it was refused"
    holding = [(prefix, port) for port in facts.ports for address, prefix in port.addresses
               if Network(address, prefix).contains(host)]  # fmt: skip
    for _, port in sorted(holding, key=lambda each: (-each[0], each[1].role != "downstream", each[1].index)):
        yield port, "by its subnet"
    for port in facts.ports:
        if host in port.peers:
            yield port, "the other end of its link"
