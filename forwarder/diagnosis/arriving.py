"""The steps where a datagram comes in: our own processes, whether frames arrive, and what drops them there. Pure."""

from forwarder.diagnosis import causes
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.facts import ARRIVING, FlowFacts
from forwarder.diagnosis.rungs import Found, ago, bad, broken, good
from forwarder.diagnosis.unwanted import named
from forwarder.state.contradictions import Lists
from forwarder.state.reasons import Reason
from forwarder.units import count
from igmp.link import format_address

MUST_ARRIVE = ("upstream_served", "reported", "query", "report", "route", "worker", "room")
"""Where no frame comes, that may follow from any of these."""


def agent(case: Case) -> Found:
    """Whether the agent answers; while it flows, it needs none."""
    if case.facts.agent is not None:
        return good("the agent answers")
    words = "the agent does not answer: who has joined, who was refused and who asks upstream could not be learnt"
    if case.port is not None and case.flow is not None and case.flow.ports >> case.index & 1:
        return good(words)
    return bad(words, "it is started again by itself; see the log and `mcfwd show stats`")


def worker(case: Case) -> Found:
    """Whether who carries it lives."""
    stopped = case.flow.stopped if case.flow is not None else bool(case.facts.stopped)
    if stopped:
        who = named([f"mcfwd-{name}" for name in case.facts.stopped]) or "the worker"
        return bad(f"{who}, which carries flows, has stopped", causes.STOPPED.remedy)
    return good("the workers live")


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
