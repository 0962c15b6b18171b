"""The steps from the upstream interface to the sender, and back to what was sent. Pure."""

from forwarder.diagnosis import causes
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.facts import ARRIVING, FlowFacts
from forwarder.diagnosis.receiving import is_free, is_served, is_up, there
from forwarder.diagnosis.rungs import Found, ago, bad, broken, good
from forwarder.diagnosis.unwanted import named
from forwarder.state.contradictions import Lists
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.units import count, size
from igmp.link import format_address

STALE_QUERY = 260.0     # seconds: two intervals of RFC 9776 and the time to answer: nobody asks any more
MUST_ARRIVE = ("upstream_served", "reported", "query", "report", "route", "worker", "room")
"""Where no frame comes, that may follow from any of these."""


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


def worker(case: Case) -> Found:
    """Whether who carries it lives."""
    stopped = case.flow.stopped if case.flow is not None else bool(case.facts.stopped)
    if stopped:
        who = named([f"mcfwd-{name}" for name in case.facts.stopped]) or "the worker"
        return bad(f"{who}, which carries flows, has stopped", causes.STOPPED.remedy)
    return good("the workers live")


def agent(case: Case) -> Found:
    """Whether the agent answers; while it flows, it needs none."""
    if case.facts.agent is not None:
        return good("the agent answers")
    words = "the agent does not answer: who has joined, who was refused and who asks upstream could not be learnt"
    if case.port is not None and case.flow is not None and case.flow.ports >> case.index & 1:
        return good(words)
    return bad(words, "it is started again by itself; see the log and `mcfwd show stats`")


def room(case: Case) -> Found:
    """Whether new flows find a row."""
    turned = {name: sum(each.get(name, 0) for each in case.facts.drops.values())
              for name in ("flow_table_full", "flow_limit")}  # fmt: skip
    flow = case.flow
    if (flow is None and turned["flow_table_full"]) or (flow is not None and flow.reason is Reason.FLOW_TABLE_FULL):
        return broken(causes.FULL)
    if flow is None and turned["flow_limit"]:
        words = "more new flows come at once than are decided"
        return bad(words, "find who sends them, or raise flow_limit in [dataplane]")
    return good("there is room for new flows")


def frames(case: Case) -> Found:
    """Whether frames arrive, where, and what they are like."""
    flow = case.flow
    if flow is not None:
        return Found(True, _arrival(case, flow), needs=())
    group = format_address(case.facts.group)
    where = case.ingress.name if case.ingress is not None else "any"
    words = f"no frame to {group}{_of_source(case)} has come in for {ARRIVING:g} s{_last(case)}{_damaged(case)}"
    remedy = f"see whether it is sent and arrives (tcpdump -ni {where} host {group}); a switch in between may keep it"
    return Found(False, words, remedy, MUST_ARRIVE)


def _of_source(case: Case) -> str:
    return "" if case.facts.source is None else f" of {format_address(case.facts.source)}"


def _last(case: Case) -> str:
    """When the last one came, and who sends instead of the source that was asked for."""
    others = [each for each in case.facts.flows if each.arrives and each.source != case.facts.source]
    if case.facts.source is not None and others:
        return f"; {named([format_address(each.source) for each in others])} sends it"
    before = [each for each in case.facts.flows if case.facts.source in (None, each.source)]
    last = min(before, key=lambda each: each.age, default=None)
    port = case.facts.port(last.ingress) if last else None
    return f"; the last by {port.name if port else 'an interface that is gone'} {ago(last.age)}" if last else ""


def _damaged(case: Case) -> str:
    found = [f"{reason} {number} on {port.name}" for port in case.facts.ports
             for reason, number in case.facts.drops.get(port.index, {}).items()
             if number and reason in ("malformed", "truncated", "ring_full")]  # fmt: skip
    return f"; dropped meanwhile: {', '.join(found[:4])}" if found else ""


def _arrival(case: Case, flow: FlowFacts) -> str:
    port = case.facts.port(flow.ingress)
    news = flow.news
    rate = f", {count(round((news.packets + news.dropped) / news.seconds))} a second" if news and news.seconds else ""
    length = f", {count(flow.size)} octets" if flow.size else ""
    ttl = 1 if flow.expires else flow.ttl
    seen = f", TTL {ttl}" if ttl > 1 or flow.expires else ""
    others = len({each.source for each in case.asked} - {flow.source})
    more = f"; {count(others)} more source{'s'[: others > 1]}" if others else ""
    where = port.name if port else "an interface that is gone"
    return f"{format_address(flow.source)} sends it, by {where}{rate}{length}{seen}, {ago(flow.age)}{more}"


def source(case: Case) -> Found | None:
    """Whether the interface by which it comes takes that source."""
    flow, port = case.flow, case.ingress
    if flow is None or port is None or case.is_here:
        return None
    if flow.returned:
        return broken(causes.twice(port.name))
    trouble = causes.of_source(flow.reason, port)
    text = format_address(flow.source)
    if trouble is not None:
        return bad(f"{text}: {trouble.words}", trouble.remedy)
    return good(f"{port.name} takes what {text} sends")


def lists(case: Case) -> Found | None:
    """Whether lists let it in, and out."""
    flow = case.flow
    if flow is None or case.is_here:
        return None
    for port in (case.ingress, case.port):
        if port is not None and (refusing := Lists(port.settings).refusing(flow.source, case.facts.group)):
            list_name = refusing.split()[-1]
            pair = f"{format_address(flow.source)},{format_address(case.facts.group)}"
            return bad(f"{refusing} of {port.name}", f"let {pair} pass {list_name} there")
    if flow.reason is Reason.BOUNDARY:
        return broken(causes.of_flow(Reason.BOUNDARY, case.ingress) or causes.RESERVED)
    return good("no list keeps it out")


def ttl(case: Case) -> Found | None:
    """Whether its TTL lets it leave."""
    flow, port = case.flow, case.ingress
    if flow is None or port is None or case.is_here:
        return None
    if flow.expires:
        return broken(causes.TTL_1)
    threshold = port.settings.threshold
    if not flow.packets and flow.dropped > flow.ttl_expired and 0 < flow.ttl < threshold:
        words = f"TTL {flow.ttl} is below the threshold of {port.name} ({threshold})"
        return bad(words, f"lower it there, or {causes.RAISE_TTL_THERE}")
    return good("its TTL is more than 1" + (f" ({flow.ttl})" if flow.ttl > 1 else ""))


def ring(case: Case) -> Found | None:
    """Whether the worker keeps up."""
    port = case.ingress
    if case.flow is None or port is None:
        return None
    lost = case.facts.drops.get(port.index, {}).get("ring_full", 0)
    if lost:
        words = f"the worker does not keep up: {count(lost)} frames just found no room in the ring of {port.name}"
        return bad(words, "raise ring_memory or workers in [dataplane], or take profile throughput")
    return good("the worker keeps up")


def threshold(case: Case) -> Found | None:
    """Whether the TTL is what the receiver's port asks for."""
    if case.port is None or case.flow is None or case.is_here:
        return None
    return _loss(case, case.port, Reason.TTL_THRESHOLD) or good(
        f"it passes the threshold of {case.port.name} ({case.port.settings.threshold})"
    )


def mtu(case: Case) -> Found | None:
    """Whether it fits the receiver's link."""
    if case.port is None or case.flow is None or case.is_here:
        return None
    return _loss(case, case.port, Reason.MTU) or good(f"it fits the MTU of {case.port.name} ({case.port.mtu})")


def rate(case: Case) -> Found | None:
    """Whether a rate limit holds it back."""
    if case.port is None or case.flow is None or not case.port.limited or case.is_here:
        return None
    return _loss(case, case.port, Reason.RATE_LIMITED) or good(f"it is within the rate limits of {case.port.name}")


def _loss(case: Case, port: Port, reason: Reason) -> Found | None:
    lost = sum(drop.packets for drop in _losses(case, reason))
    if not lost:
        return None
    trouble = causes.at_egress(reason, port, degraded=case.facts.situation.degraded.get(port.index))
    return bad(f"{trouble.words}; {count(lost)} dropped", trouble.remedy)


def _losses(case: Case, reason: Reason) -> list[FlowDrop]:
    losses = case.flow.losses if case.flow is not None else ()
    return [drop for drop in losses if drop.egress == case.index and drop.reason is reason]


def sent(case: Case) -> Found | None:
    """Whether it leaves by the receiver's port, and as what."""
    flow, port = case.flow, case.port
    if flow is None or port is None:
        return None
    if case.is_here:
        return good(f"the sender is on {port.name} itself: the link brings it to the receiver without us")
    if found := _loss(case, port, Reason.TRANSMIT_FAILED):
        return found
    if not flow.ports >> case.index & 1:
        trouble = causes.of_flow(flow.reason, case.ingress)
        late = causes.Trouble("it was decided before it was wanted there", "ask again in a moment")
        why = late if trouble is None or flow.reason is Reason.FORWARD else trouble
        return bad(f"it is not sent on {port.name}: {why.words}", why.remedy)
    if not flow.packets:
        return bad(f"nothing of it was sent on {port.name} yet", "ask again in a moment; see `mcfwd show flows`")
    how = {True: "in UDP super-frames that the kernel cuts into datagrams (gso)", False: "datagram by datagram (plain)",
           None: "datagram by datagram"}[case.facts.gso]  # fmt: skip
    lost = sum(drop.packets for drop in flow.losses if drop.egress == case.index)
    return good(f"{count(max(flow.packets - lost, 0))} datagrams ({size(flow.octets)}) were sent on {port.name}, {how}")


def others(case: Case) -> Found:
    """Whether another forwarder is there: then everything comes twice, which keeps nothing away."""
    found = [case.facts.kernel] if case.facts.kernel else []
    twins = [port.name for port in case.facts.ports if port.index in case.facts.twins]
    if twins:
        found.append(f"another mcfwd serves {named(twins)} too")
    if any(flow.returned for flow in case.asked):
        found.append("what we send comes in again: a second forwarder, or a loop")
    if found:
        return good(f"{'; '.join(found)}: what both forward comes twice; {causes.STOP_ONE}")
    return good("no other forwarder is known here")
