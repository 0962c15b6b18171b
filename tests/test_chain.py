"""Why a group does not arrive: a table of causes, the order of the steps, and what is left out behind a broken one."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.diagnosis.chain import FLOWS, TABLE, Chain, chain
from forwarder.diagnosis.facts import AgentFacts, FlowFacts, GroupFacts, News
from forwarder.diagnosis.losses import Situation
from forwarder.diagnosis.why import cases, explain
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.membership import PortMembership
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import InterfaceSettings, RouteSettings
from igmp.link import parse_address

GROUP, SOURCE, OTHER = map(parse_address, ("239.1.2.3", "10.0.0.7", "10.0.0.8"))
HOST, ROUTER = map(parse_address, ("192.168.1.11", "192.168.1.2"))
STEPS = [rung.step for rung in TABLE]


def port(index: int, name: str, role: str = "downstream", network: str = "", **facts: Any) -> Port:
    said = {key: facts.pop(key) for key in list(facts) if key in InterfaceSettings.__dataclass_fields__}
    settings = InterfaceSettings(name=name, role=role, **said)
    addresses = ((parse_address(network), 24),) if network else ()
    known = {"ifindex": index + 2, "up": True, "addresses": addresses, **facts}
    return Port(index=index, assigned=1, name=name, role=role, settings=settings, **known)


UP = port(0, "up0", "upstream", "10.0.0.2")
DOWN = port(1, "down0", network="192.168.1.1")
PORTS = (UP, DOWN)
JOINED = {
    "port": 1, "group": GROUP, "mode": "exclude", "sources": [], "excluded_sources": [], "compatibility": 3,
    "expires": 250.0, "uptime": 60.0, "last_reporter": HOST, "static": False, "heard": 4.0,
}  # fmt: skip
REFUSED = {
    "port": 1, "group": GROUP, "host": HOST, "mac": 7, "mode": "exclude", "sources": [], "reason": "deny",
    "rule": "deny 239.1.0.0/16", "since": 9.0, "last": 2.0, "count": 3,
}  # fmt: skip
REPORTED = {"port": 0, "group": GROUP, "mode": "exclude", "sources": [], "version": 3, "origins": [1], "static": False}
ASKED = {"port": 0, "source": parse_address("10.0.0.1"), "version": 3, "age": 30.0}
AGENT = AgentFacts([JOINED], [], [REPORTED], [ASKED], [])
FLOW = FlowFacts(0, SOURCE, Reason.FORWARD, 0b10, 100, 132_800, age=0.1, ttl=16, news=News(6, 0, 0, 0.25))


def querier(ours: bool = True, address: int = 0, **counters: int) -> PortMembership:
    return PortMembership(1, ours, address, 3, 1, counters)


WELL = GroupFacts(GROUP, "down0", ports=PORTS, situation=Situation({1: querier()}), flows=[FLOW], agent=AGENT, gso=True)


def with_port(facts: GroupFacts = WELL, index: int = 1, **changed: Any) -> GroupFacts:
    """The same with another port or other settings of it."""
    own = {key: changed.pop(key) for key in list(changed) if key in InterfaceSettings.__dataclass_fields__}
    ports = [replace(each, settings=replace(each.settings, **own), **changed) if each.index == index else each
             for each in facts.ports]  # fmt: skip
    return replace(facts, ports=ports)


def with_agent(facts: GroupFacts = WELL, **said: Any) -> GroupFacts:
    return replace(facts, agent=replace(facts.agent or AGENT, **said))


def with_flow(**changed: Any) -> GroupFacts:
    return replace(WELL, flows=[replace(FLOW, **changed)])


def lost(reason: Reason, **own: Any) -> GroupFacts:
    return with_port(with_flow(losses=(FlowDrop(0, SOURCE << 32 | GROUP, 1, reason, 5, 0),)), **own)


def routed(*interfaces: str, **said: Any) -> GroupFacts:
    route = RouteSettings(group="239.1.0.0/16", interfaces=interfaces, **said)
    return replace(WELL, situation=replace(WELL.situation, routes=(route,)))


SILENT = replace(WELL, agent=None)
NOTHING_COMES = replace(WELL, flows=[])
UNASKED = with_agent(NOTHING_COMES, queries=[])
UNREPORTED = with_agent(NOTHING_COMES, upstream=[])


def answer(facts: GroupFacts) -> Chain:
    [case] = cases(facts)
    return chain(case)


def shown(facts: GroupFacts) -> dict[str, bool]:
    return {link.step: link.ok for link in answer(facts).links}


CAUSES = [
    ("group", replace(WELL, group=parse_address("224.0.0.251")), "never forwarded", "use another group"),
    ("group", replace(WELL, group=parse_address("232.0.0.0")), "never forwarded", "use another group"),
    ("receiver", replace(WELL, receiver="172.16.1.1"), "nobody knows 172.16.1.1", "name its interface: up0, down0"),
    ("receiver", replace(WELL, receiver="192.168.1.1"), "own address, on down0", "veth pair"),
    ("interface", replace(WELL, receiver="eth9"), "no interface eth9", "one of its interfaces (up0, down0)"),
    ("interface", replace(WELL, receiver="e\x1b9"), "no interface e\\x1b9", "up0, down0"),
    ("interface", with_port(ifindex=0, up=False), "down0 is missing", "create it"),
    ("up", with_port(up=False), "down0 is down", "ip link set down0 up"),
    ("member", replace(WELL, enslaved={1: "down0 is a port of the bridge br0, which takes all: name br0 instead"}),
     "down0 is a port of the bridge br0", "name br0 instead, or take down0 out of it"),
    ("served", replace(WELL, situation=replace(WELL.situation, degraded={1: "no memory for a ring"})),
     "down0 is not served: no memory for a ring", "see the log"),
    ("role", replace(WELL, receiver="up0"), "up0 is upstream", "make it downstream"),
    ("role", replace(WELL, receiver="10.0.0.9"), "up0 is upstream", "make it downstream"),
    ("route", routed(), "blocked by the static route 239.1.0.0/16", "mcfwd route add 239.1.0.0/16 --interfaces down0"),
    ("route", routed("eth9"), "goes nowhere: eth9 is missing", "mcfwd route add"),
    ("agent", replace(SILENT, flows=[]), "the agent does not answer", "started again by itself"),
    ("querier", replace(WELL, situation=Situation({1: querier(False, ROUTER)})), "192.168.1.2 is the querier there",
     "switch its querier off, give down0 a lower address, or set forward_when_not_querier"),
    ("querier", with_port(replace(WELL, situation=Situation({1: querier(False)})), querier=False),
     "another router or nobody is the querier", "set querier of down0"),
    ("querier", replace(WELL, situation=Situation()), "has not begun to ask on down0", "wait"),
    ("report", with_agent(groups=[], refusals=[REFUSED]),
     "192.168.1.11 asked for it on down0, refused by deny 239.1.0.0/16",
     "take it out of deny of down0"),
    ("report", with_agent(groups=[], refusals=[{**REFUSED, "reason": "ssm", "rule": "ssm_range 232.0.0.0/8"}]),
     "asked for any source", "name its source"),
    ("report", with_agent(groups=[], refusals=[{**REFUSED, "reason": "max_groups", "rule": "max_groups 2"}]),
     "refused by max_groups 2", "raise max_groups of down0"),
    ("report", with_agent(groups=[]), "nobody has asked for 239.1.2.3 on down0", "tcpdump -ni down0 igmp"),
    ("report", with_agent(replace(WELL, receiver="192.168.1.12"), groups=[]), "192.168.1.12 has not asked",
     "join it there"),
    ("report", replace(with_agent(groups=[]), situation=Situation({1: querier(rx_bad_checksum=3)})),
     "IGMP that was dropped there: rx_bad_checksum 3", "tcpdump"),
    ("sources", with_agent(groups=[{**JOINED, "mode": "include", "sources": [[OTHER, 9.0]]}]),
     "only 10.0.0.8 is wanted on down0, and 10.0.0.7 is what comes", "join that source too"),
    ("sources", replace(with_agent(groups=[{**JOINED, "excluded_sources": [SOURCE]}]), source=SOURCE),
     "all but 10.0.0.7 is wanted on down0, and 10.0.0.7 was asked about", "join that source"),
    ("upstream", with_port(NOTHING_COMES, 0, ifindex=0, up=False), "up0 is missing", "create it"),
    ("upstream_up", with_port(NOTHING_COMES, 0, up=False), "up0 is down", "ip link set up0 up"),
    ("upstream_member", replace(NOTHING_COMES, enslaved={0: "up0 is a port of the bond b0, which takes all: name b0"}),
     "up0 is a port of the bond b0", "name b0"),
    ("upstream_served", replace(NOTHING_COMES, situation=replace(WELL.situation, degraded={0: "no descriptor"})),
     "up0 is not served: no descriptor", "see the log"),
    ("reported", with_port(UNREPORTED, 0, deny=("239.0.0.0/8",)), "refused by deny of up0", "pass deny of up0"),
    ("reported", UNREPORTED, "it is not reported on up0", "merge_only_querier"),
    ("reported", replace(with_agent(routed("down0"), upstream=[]), flows=[]), "a static route asks for nothing",
     "mcfwd group add down0 239.1.2.3"),
    ("query", UNASKED, "no query was heard on up0",
     "switch on the querier of the router or switch there, or set report_interval"),
    ("query", with_agent(NOTHING_COMES, queries=[{**ASKED, "age": 900.0}]), "no query was heard on up0 since 900 s",
     "querier"),
    ("worker", replace(NOTHING_COMES, stopped=["worker-0"]), "mcfwd-worker-0, which carries flows, has stopped", "log"),
    ("worker", with_flow(stopped=True), "has stopped", "another is being started"),
    ("room", replace(NOTHING_COMES, drops={0: {"flow_table_full": 9}}), "max_flows are in use",
     "raise max_flows in [dataplane]"),
    ("room", replace(NOTHING_COMES, drops={0: {"flow_limit": 9}}), "more new flows come at once", "raise flow_limit"),
    ("frames", NOTHING_COMES, "no frame to 239.1.2.3 has come in for 10 s", "tcpdump -ni up0 host 239.1.2.3"),
    ("frames", replace(NOTHING_COMES, ports=(DOWN,)), "no frame to 239.1.2.3", "tcpdump -ni any host 239.1.2.3"),
    ("frames", with_flow(age=12.0), "the last by up0 12 s ago", "tcpdump"),
    ("frames", replace(WELL, source=OTHER),
     "no frame to 239.1.2.3 of 10.0.0.8 has come in for 10 s; 10.0.0.7 sends it", "tcpdump"),
    ("frames", replace(NOTHING_COMES, drops={0: {"malformed": 4}}), "dropped meanwhile: malformed 4 on up0", "tcpdump"),
    ("source", with_flow(reason=Reason.SOURCE_NOT_ALLOWED, ports=0), "10.0.0.7: source is in no subnet of up0",
     "add its network to altnets"),
    ("source", with_flow(reason=Reason.BAD_SOURCE, ports=0), "no address of a host", "link_local_sources"),
    ("source", with_flow(reason=Reason.WRONG_INTERFACE, ports=0), "another interface than up0", "correct addresses"),
    ("source", with_flow(reason=Reason.WRONG_INTERFACE, ports=0, returned=True),
     "we send it to up0, and it comes in there",
     "find the other forwarder"),
    ("lists", with_port(with_flow(reason=Reason.BOUNDARY, ports=0), 0, deny=("239.1.2.3",)), "refused by deny of up0",
     "let 10.0.0.7,239.1.2.3 pass deny there"),
    ("lists", with_port(with_flow(reason=Reason.BOUNDARY, ports=0), deny=("10.0.0.7,239.1.2.3",)),
     "refused by deny of down0", "pass"),
    ("ttl", with_flow(packets=0, octets=0, dropped=9, ttl_expired=9, news=None), "sender uses TTL 1",
     "raise it (IP_MULTICAST_TTL)"),
    ("ttl", with_flow(dropped=9, ttl_expired=9, news=News(0, 6, 6, 0.25)), "sender uses TTL 1",
     "raise it (IP_MULTICAST_TTL)"),
    ("ttl", with_port(with_flow(packets=0, octets=0, dropped=9, ttl=3, news=None), 0, threshold=5),
     "TTL 3 is below the threshold of up0 (5)", "lower it there"),
    ("ring", replace(WELL, drops={0: {"ring_full": 77}}), "77 frames just found no room",
     "raise ring_memory or workers"),
    ("threshold", lost(Reason.TTL_THRESHOLD, threshold=32), "threshold of down0 (32)", "lower it there"),
    ("mtu", lost(Reason.MTU, mtu=1280), "longer than the MTU of down0 (1280)", "raise its MTU"),
    ("rate", lost(Reason.RATE_LIMITED, rate_limit=1000), "over rate_limit of down0", "raise it"),
    ("sent", lost(Reason.TRANSMIT_FAILED), "down0 cannot send", "ip -s link show down0"),
    ("sent", with_flow(ports=0), "decided before it was wanted", "ask again"),
    ("sent", with_flow(ports=0, reason=Reason.STANDBY_DUPLICATE), "taken from another upstream", "priority"),
    ("sent", with_flow(packets=0, octets=0, news=None), "nothing of it was sent on down0 yet", "ask again"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "facts", "words", "remedy"), CAUSES, ids=[f"{cause[0]}-{at}" for at, cause in enumerate(CAUSES)]
)
def test_every_cause_is_the_first_cross_and_says_what_to_do(step, facts, words, remedy):
    found = answer(facts)
    assert found.broken is not None
    assert (found.broken.step, found.verdict) == (step, step)
    assert words in found.broken.words
    assert remedy in (found.broken.remedy or "")


def test_every_step_that_can_break_is_in_the_table_of_causes():
    never = {"address", "upstream_address", "forwarders"}       # what keeps nothing away
    assert {step for step, *_ in CAUSES} == set(STEPS) - never


def test_where_all_is_well_all_steps_are_ticks():
    found = answer(WELL)
    assert (found.verdict, found.broken) == (FLOWS, None)
    assert [link.step for link in found.links] == [
        step for step in STEPS if step not in ("receiver", "route", "rate")
    ]  # fmt: skip
    assert not [link for link in found.links if link.remedy]
    words = {link.step: link.words for link in found.links}
    assert words["frames"] == "10.0.0.7 sends it, by up0, 24 a second, 1,328 octets, TTL 16, 0.1 s ago"
    assert words["report"] == "192.168.1.11 asked for it on down0 in IGMPv3, 4.0 s ago"
    assert words["query"] == "10.0.0.1 asked on up0 30 s ago, in IGMPv3"
    assert words["sent"].startswith("100 datagrams (130 KiB) were sent on down0, in UDP super-frames")


WITHOUT = [
    ("no query, but frames", with_agent(queries=[])), ("not reported, but frames", with_agent(upstream=[])),
    ("no addresses", with_port(with_port(addresses=()), 0, addresses=())),
    ("another forwarder", replace(WELL, kernel="k")),
    ("a twin", replace(WELL, twins=frozenset({1}))), ("an agent that is silent", replace(SILENT, members={None: 0b10})),
    ("an agent that is silent and nothing known", SILENT),
    ("another querier, and forward_when_not_querier",
     replace(WELL, situation=Situation({1: querier(False, ROUTER)}), anyway=frozenset({1}))),
    ("another querier, and a static route", replace(routed("down*"), situation=replace(
        routed("down*").situation, memberships={1: querier(False, ROUTER)}))),
    ("nobody has joined, and a static route", with_agent(routed("down0"), groups=[])),
    ("a refused host beside one that joined", with_agent(refusals=[REFUSED])),
    ("one that is not tracked", replace(WELL, receiver="192.168.1.12")),
    ("TTL 1 before, 16 now", with_flow(dropped=9, ttl_expired=9, news=News(6, 0, 0, 0.25))),
    ("TTL 1 before, nothing in the look", with_flow(dropped=9, ttl_expired=9, news=News(0, 0, 0, 0.25))),
    ("a source that is refused beside one that flows",
     replace(WELL, flows=[FlowFacts(0, OTHER, Reason.SOURCE_NOT_ALLOWED, age=0.0), FLOW])),
    ("a copy that comes back beside it", replace(WELL, flows=[
        FLOW, replace(FLOW, ingress=1, reason=Reason.WRONG_INTERFACE, ports=0, returned=True),
    ])),
    ("frames of 9 s ago", with_flow(age=9.0, news=News(0, 0, 0, 0.25))),
    ("the sender on the receiver's link",
     with_flow(ingress=1, ports=0b1, reason=Reason.FORWARD, ttl=1, packets=0, ttl_expired=5, news=None)),
    ("a missing upstream beside one that brings it",
     replace(WELL, ports=(*PORTS, port(2, "up1", "upstream", ifindex=0, up=False)))),
]  # fmt: skip


@pytest.mark.parametrize("facts", [facts for _, facts in WITHOUT], ids=[name for name, _ in WITHOUT])
def test_what_does_not_keep_the_stream_away_is_no_cross(facts):
    assert answer(facts).broken is None


def test_before_anything_is_known_there_is_an_answer():
    assert answer(GroupFacts(GROUP)).verdict == "report"
    assert answer(GroupFacts(GROUP, agent=None, source=SOURCE)).verdict == "agent"
    assert answer(GroupFacts(GROUP, "eth0", agent=None)).verdict == "interface"


def test_a_missing_query_is_one_only_while_no_frame_arrives():
    assert not shown(UNASKED)["query"]
    assert shown(with_agent(queries=[]))["query"]
    assert shown(replace(UNASKED, repeated={0: 30.0}))["query"]


@pytest.mark.parametrize(("facts", "left_out", "stays"), [
    (with_port(up=False), {"served", "address", "querier", "report", "sent"}, {"member", "role", "upstream_up",
     "frames"}),
    (with_agent(NOTHING_COMES, groups=[]), {"sources", "reported", "frames", "sent"}, {"query", "upstream_up",
     "worker"}),
    (with_agent(groups=[]), {"reported", "sent", "mtu"}, {"frames", "ttl", "source", "query"}),
    (UNASKED, {"frames", "source", "sent"}, {"reported", "worker"}),
    (replace(WELL, situation=Situation({1: querier(False, ROUTER)})), {"sent", "mtu"}, {"report", "frames", "ttl"}),
    (with_flow(packets=0, ttl_expired=9, news=None), {"mtu", "threshold", "sent"}, {"source", "forwarders"}),
    (replace(WELL, group=parse_address("224.0.0.1")), {"interface", "report", "frames"}, {"worker"}),
])  # fmt: skip
def test_steps_that_depend_on_a_broken_one_are_left_out_and_others_stay(facts, left_out, stays):
    found = shown(facts).keys()
    assert (left_out & found, stays - found) == (set(), set())


def bits(*options: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(options)


@st.composite
def anything(draw: st.DrawFn) -> GroupFacts:
    """Facts of every kind, many of them broken in several places."""
    facts = draw(bits(*[facts for _, facts, *_ in CAUSES], WELL))
    other = draw(bits(*[facts for _, facts, *_ in CAUSES], WELL))
    mixed = {name: getattr(draw(bits(facts, other)), name) for name in GroupFacts.__dataclass_fields__}
    receiver = draw(bits("down0", "up0", "192.168.1.11", "10.9.9.9", "none", None))
    return replace(GroupFacts(**mixed), receiver=receiver)


@given(anything())
def test_what_is_shown_needs_nothing_that_is_broken_and_keeps_the_order_of_the_table(facts):
    for case in cases(facts):
        found = chain(case)
        steps = [link.step for link in found.links]
        assert steps == sorted(steps, key=STEPS.index)
        assert len(steps) == len(set(steps))
        crosses = {link.step for link in found.links if not link.ok}
        missing = {rung.step for rung in TABLE if rung.step not in steps and rung.look(case) is not None}
        for rung in TABLE:
            assert rung.step not in steps or not set(rung.needs) & (crosses | missing)
        assert all(link.words and bool(link.remedy) != link.ok for link in found.links)
        assert (found.verdict == FLOWS) == (not crosses)
        assert "sent" in steps or crosses or "frames" in steps
    assert explain(facts)["steps"]
