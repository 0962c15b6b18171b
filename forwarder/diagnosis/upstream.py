"""The steps upstream: the interface by which it should come, whether we ask there and are asked. Pure."""

from forwarder.diagnosis.case import Case
from forwarder.diagnosis.interfaces import is_free, is_served, is_up, there
from forwarder.diagnosis.rungs import Found, ago, bad, good
from forwarder.diagnosis.unwanted import named
from forwarder.state.contradictions import Lists
from igmp.link import format_address

STALE_QUERY = 260.0     # seconds: two intervals of RFC 9776 and the time to answer: nobody asks any more


def upstream(case: Case) -> Found:
    """Whether there is an interface by which it can come."""
    port = case.ingress
    if port is not None:
        return there(port)
    if any(each.role == "upstream" for each in case.facts.ports):
        return good("the static route says by which interface it comes, and there is none yet")
    return good("no interface is upstream: senders on the downstream links are served")


def upstream_up(case: Case) -> Found | None:
    """Whether it is up."""
    return None if case.ingress is None else is_up(case.ingress)


def upstream_member(case: Case) -> Found | None:
    """Whether something else takes what comes in there."""
    return None if case.ingress is None else is_free(case, case.ingress)


def upstream_served(case: Case) -> Found | None:
    """Whether it has its sockets."""
    return None if case.ingress is None else is_served(case, case.ingress)


def upstream_address(case: Case) -> Found | None:
    """Which address it has: without one routers may ignore us, which shows in that nothing comes."""
    port = case.ingress
    if port is None:
        return None
    if port.addresses:
        own, prefix = port.addresses[0]
        return good(f"{port.name} has {format_address(own)}/{prefix}")
    return good(f"{port.name} has no address: what is reported there from 0.0.0.0 some routers ignore")


def reported(case: Case) -> Found | None:
    """Whether we ask for the group upstream; nothing has to be asked for while it comes."""
    port = case.ingress
    if port is None or port.role != "upstream" or case.facts.agent is None:
        return None
    name, arrives = port.name, bool(case.asked)
    row = next((row for row in case.agent.upstream if row["port"] == port.index), None)
    if row is not None:
        sources = named([format_address(each) for each in row["sources"]])
        what = {"include": f" from {sources}", "exclude": f" but for {sources}" if sources else ""}[row["mode"]]
        return good(f"it is reported on {name}{what} in IGMPv{row['version']}")
    if arrives:
        return good(f"it is not reported on {name}, and comes all the same")
    if refusing := Lists(port.settings).refusing(case.facts.source, case.facts.group):
        list_name = refusing.split()[-1]
        return bad(f"not asked for upstream: {refusing} of {name}", f"let the group pass {list_name} of {name}")
    if case.ruled:
        remedy = f"mcfwd group add {case.port.name if case.port else 'IF'} {format_address(case.facts.group)}"
        return bad(f"a static route asks for nothing, so it is not reported on {name}", f"{remedy}: that asks for it")
    remedy = "ask again in a moment; merge_only_querier leaves interfaces out where another is the querier"
    return bad(f"it is not reported on {name}", remedy)


def query(case: Case) -> Found | None:
    """Whether anybody asks us upstream; who is never asked may be forgotten, which shows in that nothing comes."""
    port = case.ingress
    if port is None or port.role != "upstream" or case.facts.agent is None:
        return None
    row = next((row for row in case.agent.queries if row["port"] == port.index), None)
    if row is not None and row["age"] <= STALE_QUERY:
        asker = format_address(row["source"]) if row["source"] else "somebody at 0.0.0.0"
        return good(f"{asker} asked on {port.name} {ago(row['age'])}, in IGMPv{row['version']}")
    words = f"no query was heard on {port.name}" + (f" since {row['age']:.0f} s" if row else "")
    if case.asked:
        return good(f"{words}; it comes all the same")
    if repeats := case.facts.repeated.get(port.index):
        return good(f"{words}, but what we want is repeated every {repeats:g} s (report_interval)")
    remedy = "switch on the querier of the router or switch there, or set report_interval, which repeats our reports"
    return bad(f"{words}: a router or a snooping switch that never asks forgets who wants what", remedy)
