from dataclasses import replace

import numpy as np
import pytest
from batches import address as ip
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.admission import Admission, PortPolicy
from forwarder.dataplane.fib import Decision, Fib
from forwarder.dataplane.lists import admits
from forwarder.state.reasons import Reason
from igmp.access import AccessList, Entry
from igmp.link import Network

UP, D1, D2, D3, D4 = range(5)
G, G2 = ip("239.1.1.1"), ip("239.2.2.2")
A, B = ip("10.99.0.1"), ip("10.99.0.2")


def net(text: str) -> tuple[int, int]:
    network, length = text.split("/")
    return ip(network), int(length)


def downstream(index: int, **changes) -> PortPolicy:
    subnet = f"192.168.{index * 10}."
    policy = {"networks": (net(subnet + "1/24"),), "addresses": (ip(subnet + "1"),)}
    return PortPolicy(index, "downstream", **{**policy, **changes})


def upstream(index: int = UP, **changes) -> PortPolicy:
    policy = {"networks": (net("10.0.0.1/24"),), "addresses": (ip("10.0.0.1"),)}
    return PortPolicy(index, "upstream", **{**policy, **changes})


def fib(*ports: PortPolicy, queriers: int = -1) -> Fib:
    result = Fib()
    result.set_ports(ports or [upstream(), downstream(D1), downstream(D2), downstream(D3), downstream(D4)])
    result.set_queriers(queriers)
    return result


def both(index: int, **changes) -> PortPolicy:
    return replace(downstream(index, **changes), role="both")


def bits(*ports: int) -> int:
    return sum(1 << port for port in ports)


def entries(*texts: str) -> tuple[Entry, ...]:
    return tuple(map(Entry.parse, texts))


FORWARDING_MATRIX = [
    (UP, "10.99.0.1", G, [D1]),
    (UP, "10.99.0.2", G, [D2]),
    (UP, "10.99.0.1", G2, Reason.NO_MEMBERS),
    (D1, "192.168.10.50", G, [UP]),
    (D3, "192.168.30.50", G, [UP, D1]),
    (D3, "192.168.30.50", G2, [UP]),
    (D2, "192.168.20.50", G, [UP, D1]),
    (D4, "192.168.40.50", G, [UP, D1]),
]


# RFC 4605 3 f, 4.2 a b
# RFC 4541 2.1.2 a c
@pytest.mark.parametrize(("ingress", "source", "group", "out"), FORWARDING_MATRIX)
def test_forwarding_matrix(ingress, source, group, out):
    """P-04: d1 EXCLUDE{b}, d2 INCLUDE{b}, d3 without members, d4 not the querier."""
    table = fib(queriers=bits(D1, D2, D3))
    table.set_route(G, 32, None, 32, None, bits(D1, D4))
    table.set_route(G, 32, B, 32, None, bits(D2, D4))
    expected = Decision(Reason.FORWARD, bits(*out)) if isinstance(out, list) else Decision(out)
    assert table.decide(ingress, ip(source), group)[:2] == expected[:2]


# RFC 4541 2.1.2 b
@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("224.0.0.1", Reason.RESERVED),
        ("224.0.0.5", Reason.RESERVED),
        ("224.0.0.251", Reason.RESERVED),
        ("224.0.0.255", Reason.RESERVED),
        ("224.0.1.1", Reason.FORWARD),
        ("224.0.2.1", Reason.FORWARD),
        ("239.255.255.250", Reason.FORWARD),
        ("232.0.0.0", Reason.RESERVED),
        ("232.0.0.1", Reason.FORWARD),
        ("10.1.1.1", Reason.RESERVED),
        ("240.0.0.1", Reason.RESERVED),
        ("255.255.255.255", Reason.RESERVED),
    ],
)
def test_destination_rules(group, reason):
    """F-04, all of it with members."""
    table = fib()
    table.set_route(0, 0, None, 32, None, bits(D1))
    assert table.decide(UP, A, ip(group)).reason == reason


# RFC 4541 2.1.2 e
def test_groups_that_share_a_mac_address_are_groups_of_their_own():
    table = fib()
    table.set_route(ip("239.1.1.1"), 32, None, 32, None, bits(D1))
    assert [table.decide(UP, A, ip(group)).reason for group in ("239.1.1.1", "224.129.1.1", "239.129.1.1")] == [
        Reason.FORWARD, Reason.NO_MEMBERS, Reason.NO_MEMBERS]


SOURCE_RULES = [
    (UP, "10.0.0.77", Reason.FORWARD),
    (UP, "10.99.3.4", Reason.FORWARD),
    (UP, "172.16.0.1", Reason.SOURCE_NOT_ALLOWED),
    (UP, "192.168.10.50", Reason.WRONG_INTERFACE),
    (D1, "192.168.10.50", Reason.FORWARD),
    (D1, "192.168.20.11", Reason.WRONG_INTERFACE),
    (D1, "10.99.0.1", Reason.SOURCE_NOT_ALLOWED),
    (D1, "0.0.0.0", Reason.BAD_SOURCE),
    (UP, "0.0.0.7", Reason.BAD_SOURCE),
    (UP, "0.255.255.255", Reason.BAD_SOURCE),
    (UP, "169.254.0.1", Reason.BAD_SOURCE),
    (D1, "169.254.255.255", Reason.BAD_SOURCE),
    (D1, "127.0.0.1", Reason.BAD_SOURCE),
    (D1, "239.9.9.9", Reason.BAD_SOURCE),
    (D1, "255.255.255.255", Reason.BAD_SOURCE),
    (D1, "192.168.10.255", Reason.BAD_SOURCE),
    (D1, "192.168.10.0", Reason.BAD_SOURCE),
    (D1, "192.168.10.1", Reason.BAD_SOURCE),
    (9, "192.168.10.50", Reason.WRONG_INTERFACE),
]


@pytest.mark.parametrize(("ingress", "source", "reason"), SOURCE_RULES)
def test_source_rules(ingress, source, reason):
    """F-05, with alternative subnets that cover the downstream ones too."""
    table = fib(upstream(altnets=(net("10.99.0.0/16"), net("192.168.0.0/16"))), downstream(D1), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(UP, D1, D2))
    assert table.decide(ingress, ip(source), G).reason == reason


@pytest.mark.parametrize(
    ("port", "source", "reason"),
    [
        (upstream(), "172.16.0.1", Reason.FORWARD),
        (upstream(), "192.168.10.50", Reason.WRONG_INTERFACE),
        (upstream(altnets=()), "172.16.0.1", Reason.SOURCE_NOT_ALLOWED),
        (upstream(altnets=()), "10.0.0.9", Reason.FORWARD),
        (downstream(D2, altnets=(net("172.16.0.0/12"),)), "172.16.0.1", Reason.FORWARD),
        (downstream(D2, networks=(net("172.16.0.7/32"),)), "172.16.0.7", Reason.FORWARD),
        (downstream(D2, networks=(net("172.16.0.6/31"),)), "172.16.0.6", Reason.FORWARD),
    ],
)
def test_sources_by_role(port, source, reason):
    table = fib(port, downstream(D1), upstream(D3, networks=()))
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(port.index, ip(source), G).reason == reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [("169.253.255.255", Reason.FORWARD), ("169.254.0.0", Reason.BAD_SOURCE), ("169.255.0.0", Reason.FORWARD),
     ("1.0.0.0", Reason.FORWARD), ("0.1.2.3", Reason.BAD_SOURCE)],
)  # fmt: skip
def test_link_local_sources_where_the_port_takes_them(source, reason):
    """RFC 3927 section 7 forbids it; RFC 1812 5.3.7 says no to 0/8, whatever is set."""
    table = fib(upstream(), downstream(D1))
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(UP, ip(source), G).reason == reason
    table = fib(upstream(link_local_sources=True), downstream(D1))
    table.set_route(G, 32, None, 32, None, bits(D1))
    expected = Reason.BAD_SOURCE if source.startswith("0.") else Reason.FORWARD
    assert table.decide(UP, ip(source), G).reason == expected


addresses = st.sampled_from(["10.0.0.9", "10.0.0.0", "10.0.0.255", "10.0.0.1", "10.1.0.9", "10.1.2.3", "192.168.10.0",
                             "192.168.10.9", "172.16.0.9", "0.0.0.0", "169.254.1.1"]).map(ip)  # fmt: skip
networks = st.lists(st.tuples(addresses, st.sampled_from([0, 8, 16, 24, 31, 32])), max_size=3).map(tuple)
policies = st.builds(
    PortPolicy,
    index=st.just(0),
    role=st.sampled_from(["upstream", "downstream"]),
    networks=networks,
    altnets=st.none() | networks,
    addresses=st.lists(addresses, max_size=1).map(tuple),
    link_local_sources=st.booleans(),
)


def expected_refusal(ports: list[PortPolicy], port: PortPolicy, source: int) -> Reason:
    """The rules of `admission` for a group that is fine, one source, word for word."""
    connected = [(length, each.index, net) for each in ports for net, length in each.networks]
    no_hosts = {net >> 32 - length << 32 - length | edge for length, _, net in connected if length < 31
                for edge in (0, (1 << 32 - length) - 1)}  # fmt: skip
    if source >> 24 in (0, 127, *range(224, 256)) or source in no_hosts | {a for each in ports for a in each.addresses}:
        return Reason.BAD_SOURCE
    if source >> 16 == 0xA9FE and not port.link_local_sources:
        return Reason.BAD_SOURCE
    holding = [(length, index) for length, index, net in connected if (source ^ net) >> 32 - length == 0]
    if holding:
        owners = {index for length, index in holding if length == max(holding)[0]}
        return Reason.FORWARD if port.index in owners else Reason.WRONG_INTERFACE
    if port.role == "upstream" and port.altnets is None:
        return Reason.FORWARD
    inside = any((source ^ net) >> 32 - length == 0 for net, length in port.altnets or ())
    return Reason.FORWARD if inside or not (port.networks or port.altnets is not None) else Reason.SOURCE_NOT_ALLOWED


@settings(deadline=None)
@given(st.lists(policies, min_size=1, max_size=4), st.lists(addresses, max_size=8), st.data())
def test_sources_are_admitted_by_the_thousand_as_one_by_one(ports, sources, data):
    ports = [replace(port, index=index) for index, port in enumerate(ports)]
    port = data.draw(st.sampled_from(ports))
    found = Admission(ports).refusals(port, np.array(sources, np.uint64), np.full(len(sources), G, np.uint64))
    assert found.tolist() == [expected_refusal(ports, port, source) for source in sources]


listed = st.lists(
    st.sampled_from(["239.1.0.0/16", "239.0.0.0/8", "239.2.2.2", "10.99.0.0/16,239.1.0.0/16", "10.99.0.1,239.0.0.0/8"]),
    max_size=3,
).map(lambda texts: entries(*texts))
bounds = st.sampled_from([(), (Network.parse("239.2.0.0/16"),)])


@settings(deadline=None)
@given(st.builds(AccessList, listed, listed, bounds))
def test_lists_say_of_thousands_what_they_say_of_one(access):
    flows = [(source, group) for source in (A, B, ip("10.0.0.9")) for group in (G, G2, ip("238.0.0.1"))]
    sources, groups = np.array(flows, np.uint64).T
    assert admits(access, sources, groups).tolist() == [access.admits(*flow) for flow in flows]


listing = st.builds(AccessList, listed, listed, bounds)


@settings(deadline=None)
@given(
    st.lists(listing, min_size=3, max_size=3),
    st.lists(st.tuples(st.sampled_from([A, B, ip("192.168.10.9")]), st.sampled_from([G, G2, G + 1])), max_size=9),
    st.dictionaries(st.sampled_from([G, G2]), st.integers(0, 15), max_size=2),
)
def test_flows_decided_together_are_decided_as_each_alone(lists, flows, wanted):
    table = fib(upstream(access=lists[0]), downstream(D1, access=lists[1]), downstream(D2, access=lists[2]))
    for group, ports in wanted.items():
        table.set_route(group, 32, None, 32, None, ports)
    pairs = np.array([source << 32 | group for source, group in flows], np.uint64)
    decided = table.decide_all(UP, pairs)
    found = [decided.choices[which] for which in decided.which.tolist()]
    assert found == [table.decide(UP, *flow) for flow in flows]
    assert decided.reasons.tolist() == [each.reason for each in found]
    for (source, group), each in zip(flows, found, strict=True):
        if each.ports:
            admitted = sum(1 << at for at, access in enumerate(lists) if access.admits(source, group))
            assert each.ports == wanted[group] & admitted & 0b110


def test_long_lists_shorten_what_is_decided_at_once():
    many = AccessList(deny=entries(*(f"239.2.{number}.0/24" for number in range(256))))
    assert fib().most_at_once >= 16384
    assert fib(upstream(access=many), downstream(D1)).most_at_once == 1024


def test_the_longest_subnet_owns_a_source():
    table = fib(upstream(networks=(net("10.0.0.1/8"),)), downstream(D1, networks=(net("10.1.0.1/16"),)), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D2))
    assert table.decide(UP, ip("10.1.2.3"), G).reason == Reason.WRONG_INTERFACE
    assert table.decide(D1, ip("10.1.2.3"), G)[:2] == Decision(Reason.FORWARD, bits(UP, D2))[:2]
    assert table.decide(UP, ip("10.2.2.3"), G)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]


def test_boundary():
    """F-08: 239.255/16 does not cross up, in either direction."""
    group = ip("239.255.1.1")
    access = AccessList(boundary=(Network.parse("239.255.0.0/16"),))
    table = fib(upstream(access=access), downstream(D1), downstream(D2))
    table.set_route(group, 32, None, 32, None, bits(D2))
    assert table.decide(D1, ip("192.168.10.9"), group)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]
    assert table.decide(D2, ip("192.168.20.9"), group)[:2] == Decision(Reason.BOUNDARY)[:2]
    assert table.decide(UP, A, group)[:2] == Decision(Reason.BOUNDARY)[:2]
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.FORWARD, bits(UP))[:2]


@pytest.mark.parametrize(
    ("ingress", "source", "group", "out"),
    [
        (UP, "10.99.0.1", "239.1.1.1", [D1]),
        (UP, "10.99.0.1", "239.1.2.1", [D1, D2]),
        (UP, "10.98.0.1", "239.1.2.1", [D1]),
        (UP, "10.99.0.1", "238.1.1.1", Reason.BOUNDARY),
        (D1, "192.168.10.9", "239.1.2.1", [UP]),
        (D1, "192.168.10.9", "238.1.1.1", [D2]),
        (D2, "192.168.20.9", "239.1.2.1", Reason.BOUNDARY),
        (D2, "192.168.20.9", "238.1.1.1", [D1]),
    ],
)
def test_lists_hold_in_both_directions(ingress, source, group, out):
    """UP passes 239/8 only; D2 takes nothing of 239.1.1/24, and from 10.99/16 only in the rest of 239/8."""
    up = AccessList(allow=entries("239.0.0.0/8"))
    d2 = AccessList(allow=entries("10.99.0.0/16,239.0.0.0/8", "238.0.0.0/8"), deny=entries("239.1.1.0/24"))
    table = fib(upstream(access=up), downstream(D1), downstream(D2, access=d2))
    table.set_route(0, 0, None, 32, None, bits(D1, D2))
    expected = Decision(Reason.FORWARD, bits(*out)) if isinstance(out, list) else Decision(out)
    assert table.decide(ingress, ip(source), ip(group))[:2] == expected[:2]


def test_sources_downstream_go_to_the_upstreams_that_admit_the_group():
    refusing = AccessList(deny=entries("239.1.0.0/16"))
    table = fib(upstream(), upstream(D3, networks=(), access=refusing), downstream(D1))
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.FORWARD, bits(UP))[:2]
    assert table.decide(D1, ip("192.168.10.9"), G2)[:2] == Decision(Reason.FORWARD, bits(UP, D3))[:2]


def test_ssm_goes_upstream_on_request_only():
    table, group = fib(), ip("232.1.1.1")
    table.set_on_request([Network.parse("232.0.0.0/9"), Network.parse("232.128.0.0/9")])
    assert table.decide(D1, ip("192.168.10.9"), group)[:2] == Decision(Reason.NO_MEMBERS)[:2]
    table.set_route(group, 32, None, 32, None, bits(D2))
    assert table.decide(D1, ip("192.168.10.9"), group)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.FORWARD, bits(UP))[:2]
    table.set_route(group, 32, ip("192.168.10.9"), 32, None, bits(UP, D3), "static")
    assert table.decide(D1, ip("192.168.10.9"), group)[:2] == Decision(Reason.FORWARD, bits(UP, D3))[:2]
    table.set_on_request([])
    assert table.decide(D1, ip("192.168.10.8"), group)[:2] == Decision(Reason.FORWARD, bits(UP, D2))[:2]


def test_who_wants_it_and_is_kept_out_is_said_with_the_reason():
    table = fib(
        upstream(), downstream(D1), downstream(D2, access=AccessList(deny=(Entry.parse("239.0.0.0/8"),))),
        downstream(D3), queriers=bits(D2, D3),
    )  # fmt: skip
    table.set_route(G, 32, None, 32, None, bits(D1, D2, D3))
    kept = (Reason.NOT_QUERIER, bits(D1)), (Reason.BOUNDARY, bits(D2))
    assert table.decide(UP, A, G) == Decision(Reason.FORWARD, bits(D3), kept)
    table.set_route(G, 32, None, 32, None, bits(D1, D2))
    assert table.decide(UP, A, G) == Decision(Reason.BOUNDARY, 0, kept)
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(UP, A, G) == Decision(Reason.NOT_QUERIER, 0, kept[:1])


# RFC 4605 4.2 a
def test_only_the_querier_mask_makes_not_querier():
    table = fib(upstream(), downstream(D1), downstream(D2, up=False), queriers=0)
    table.set_route(G, 32, None, 32, None, bits(D1))
    table.set_route(G2, 32, None, 32, None, bits(D2))
    assert table.decide(UP, A, G)[:2] == Decision(Reason.NOT_QUERIER)[:2]
    assert table.decide(UP, A, G2)[:2] == Decision(Reason.NO_MEMBERS)[:2]
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.FORWARD, bits(UP))[:2]


def test_a_route_without_a_stamp_is_later_than_any_owner_of_a_port():
    table = fib(upstream(), downstream(D1, assigned=1 << 40))
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(UP, A, G)[:2] == Decision(Reason.FORWARD, bits(D1))[:2]


def test_ports_that_are_down_get_nothing():
    table = fib(upstream(up=False), downstream(D1, up=False), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(D2, ip("192.168.20.9"), G)[:2] == Decision(Reason.NO_MEMBERS)[:2]


# RFC 4605 3.2 a
def test_every_upstream_gets_what_comes_from_downstream():
    table = fib(upstream(), downstream(D1), upstream(D2, networks=()))
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.FORWARD, bits(UP, D2))[:2]
    assert table.decide(UP, A, G)[:2] == Decision(Reason.NO_MEMBERS)[:2]


def test_a_static_route_without_ports_blocks_upstream_too():
    table = fib()
    table.set_route(G, 32, None, 32, None, bits(D1, D2))
    table.set_route(G, 32, ip("192.168.10.9"), 32, None, 0, "block")
    assert table.decide(D1, ip("192.168.10.9"), G)[:2] == Decision(Reason.NO_MEMBERS)[:2]
    assert table.decide(D1, ip("192.168.10.8"), G)[:2] == Decision(Reason.FORWARD, bits(UP, D2))[:2]


def test_a_static_route_is_not_masked_by_querier_roles():
    table = fib(queriers=0)
    table.set_route(G, 32, None, 32, UP, bits(D1), "static")
    assert table.decide(UP, A, G)[:2] == Decision(Reason.FORWARD, bits(D1))[:2]


def test_a_static_route_for_one_ingress_leaves_the_others_no_way_in():
    table = fib(upstream(), upstream(D4, networks=()), downstream(D1), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D2))
    table.set_route(G, 24, A, 32, UP, bits(D1), "static")
    assert table.decide(UP, A, G)[:2] == Decision(Reason.FORWARD, bits(D1))[:2]
    assert table.decide(D4, A, G)[:2] == Decision(Reason.WRONG_INTERFACE)[:2]
    assert table.decide(D4, B, G)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]
    table.set_route(G, 24, A, 32, D4, 0, "block")
    assert table.decide(D4, A, G)[:2] == Decision(Reason.NO_MEMBERS)[:2]
    table.delete_route(G, 24, A, 32, D4, static=True)
    table.set_route(G, 16, None, 32, None, bits(D2), "static")
    assert table.decide(D4, A, G)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]


def test_a_route_of_one_ingress_applies_to_no_other():
    table = fib()
    table.set_route(G, 32, None, 32, D1, bits(D2))
    table.set_route(G, 32, None, 32, None, bits(D3))
    assert table.decide(D1, ip("192.168.10.9"), G).ports == bits(UP, D2)
    assert table.decide(UP, A, G).ports == bits(D3)


def test_a_learned_route_waits_behind_a_static_one_of_the_same_key():
    table = fib()
    table.set_route(G, 32, None, 32, None, bits(D1), "learned")
    table.set_route(G, 32, None, 32, None, bits(D2), "static")
    assert table.decide(UP, A, G).ports == bits(D2)
    table.set_route(G, 32, None, 32, None, bits(D3), "learned")
    assert table.decide(UP, A, G).ports == bits(D2)
    table.delete_route(G, 32, None, 32, None, static=True)
    assert table.decide(UP, A, G).ports == bits(D3)
    table.delete_route(G, 32, None, 32, None)
    table.delete_route(G, 32, None, 32, None)
    assert table.decide(UP, A, G)[:2] == Decision(Reason.NO_MEMBERS)[:2]


def test_a_route_that_ends_leaves_those_of_its_kind():
    table = fib()
    table.set_route(G, 32, None, 32, None, bits(D1))
    table.set_route(G2, 32, None, 32, None, bits(D2))
    table.delete_route(G, 32, None, 32, None)
    table.set_route(ip("239.3.0.0"), 16, None, 32, None, bits(D3))      # another class: all are sorted again
    assert table.decide(UP, A, G2)[:2] == Decision(Reason.FORWARD, bits(D2))[:2]
    assert table.decide(UP, A, G)[:2] == Decision(Reason.NO_MEMBERS)[:2]
    table.delete_route(G2, 32, None, 32, None)
    assert table.decide(UP, A, G2)[:2] == Decision(Reason.NO_MEMBERS)[:2]



def test_wide_bitmaps():
    table = fib(upstream(), PortPolicy(200, "downstream"))
    table.set_route(G, 32, None, 32, None, 1 << 200)
    assert table.decide(UP, A, G).ports == 1 << 200


keys = st.tuples(
    st.sampled_from([G, G + 1, G2]),
    st.sampled_from([0, 4, 24, 31, 32]),
    st.sampled_from([None, A, B]),
    st.sampled_from([0, 8, 30, 32]),
    st.sampled_from([None, UP, D1]),
)
changes = st.lists(
    st.tuples(keys, st.none() | st.integers(0, 31), st.sampled_from(["learned", "static", "block"])), max_size=25
)


def canonical(key: tuple) -> tuple:
    group, plen, source, slen, ingress = key
    source_part = None if source is None else (source >> 32 - slen, slen)
    return group >> 32 - plen, plen, source_part, ingress


def matches(key: tuple, ingress: int, source: int, group: int) -> bool:
    prefix, plen, source_part, only, *_ = key
    from_here = source_part is None or source >> 32 - source_part[1] == source_part[0]
    return group >> 32 - plen == prefix and from_here and only in (None, ingress)


def precedence(key: tuple, kind: str) -> tuple:
    _, plen, source_part, only, *_ = key
    return kind != "learned", source_part is not None, plen, source_part and source_part[1], only is not None


@settings(deadline=None)
@given(changes, st.sampled_from([UP, D1]), st.sampled_from([G, G2, G2 + 1]))
def test_the_best_route_decides(made, ingress, group):
    table, model = fib(upstream(), *(PortPolicy(index, "downstream") for index in range(1, 5))), {}
    for key, ports, kind in made:
        static = kind != "learned"
        if ports is None:
            table.delete_route(*key, static)
            model.pop((*canonical(key), static), None)
        else:
            table.set_route(*key, ports, kind)
            model[(*canonical(key), static)] = ports, kind
    source = A if ingress == UP else ip("10.0.0.9")
    if ingress == D1:  # D1 accepts what belongs to nobody only with altnets
        anywhere = PortPolicy(D1, "downstream", altnets=((0, 0),))
        table.set_ports([upstream(networks=()), anywhere, *map(downstream, (2, 3, 4))])
    fitting = [
        (precedence(key, kind), ports, kind)
        for key, (ports, kind) in model.items()
        if matches(key, ingress, source, group)
    ]
    _, ports, kind = max(fitting, default=(None, 0, "learned"), key=lambda each: each[0])
    elsewhere = kind == "learned" and any(
        made != "learned" and key[3] is not None and matches((*key[:3], None), ingress, source, group)
        for key, (_, made) in model.items()
    )
    decision = table.decide(ingress, source, group)
    out = ports & ~(1 << ingress) | (1 if ingress == D1 and (ports or kind == "learned") else 0)
    assert decision.ports == (0 if elsewhere else out)
    assert (decision.reason == Reason.WRONG_INTERFACE) == elsewhere


# --- ports that are both ---


def test_what_comes_in_by_a_port_that_is_both_goes_where_static_routes_say_whoever_has_joined():
    routes = fib(upstream(), downstream(D1), both(D2), both(D3))
    routes.set_route(G, 32, None, 32, None, bits(D1))
    assert routes.decide(UP, A, G) == Decision(Reason.FORWARD, bits(D1))
    assert routes.decide(D2, B, G).reason is Reason.NO_MEMBERS
    routes.set_route(G, 32, None, 32, D2, bits(D1, D3), "static")
    assert routes.decide(D2, B, G) == Decision(Reason.FORWARD, bits(D1, D3))
    assert routes.decide(D3, B, G).reason is Reason.WRONG_INTERFACE


def test_routes_lead_both_ways_between_ports_that_are_both():
    routes = fib(both(D1), both(D2))
    routes.set_route(G, 32, None, 32, D1, bits(D2), "static")
    routes.set_route(G, 32, None, 32, D2, bits(D1), "static")
    assert routes.decide(D1, ip("192.168.10.50"), G) == Decision(Reason.FORWARD, bits(D2))
    assert routes.decide(D2, ip("192.168.20.50"), G) == Decision(Reason.FORWARD, bits(D1))
    assert routes.decide(D1, ip("192.168.20.50"), G).reason is Reason.WRONG_INTERFACE


def test_nothing_goes_to_a_port_that_is_both_for_members_or_from_downstream():
    routes = fib(upstream(), downstream(D1), both(D2))
    routes.set_route(G, 32, None, 32, None, bits(D1, D2))
    routes.set_queriers(bits(D1))
    assert routes.decide(UP, A, G).ports == bits(D1)
    assert routes.decide(D1, ip("192.168.10.50"), G2) == Decision(Reason.FORWARD, bits(UP))


def test_sources_of_a_port_that_is_both_are_those_of_an_upstream():
    routes = fib(both(D1), both(D2, altnets=(net("10.7.0.0/16"),)))
    for port in (D1, D2):
        routes.set_route(G, 32, None, 32, port, bits(D1, D2) ^ bits(port), "static")
    assert routes.decide(D1, A, G).reason is Reason.FORWARD
    assert routes.decide(D2, A, G).reason is Reason.SOURCE_NOT_ALLOWED
    assert routes.decide(D2, ip("10.7.1.1"), G).reason is Reason.FORWARD
