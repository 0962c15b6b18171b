import numpy as np
import pytest
from batches import address as ip
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane.admission import PortPolicy
from forwarder.dataplane.fib import Decision, Fib
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


def bits(*ports: int) -> int:
    return sum(1 << port for port in ports)


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


@pytest.mark.parametrize(("ingress", "source", "group", "out"), FORWARDING_MATRIX)
def test_forwarding_matrix(ingress, source, group, out):
    """P-04: d1 EXCLUDE{b}, d2 INCLUDE{b}, d3 without members, d4 not the querier."""
    table = fib(queriers=bits(D1, D2, D3))
    table.set_route(G, 32, None, 32, None, bits(D1, D4))
    table.set_route(G, 32, B, 32, None, bits(D2, D4))
    expected = Decision(Reason.FORWARD, bits(*out)) if isinstance(out, list) else Decision(out)
    assert table.decide(ingress, ip(source), group) == expected


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


SOURCE_RULES = [
    (UP, "10.0.0.77", Reason.FORWARD),
    (UP, "10.99.3.4", Reason.FORWARD),
    (UP, "172.16.0.1", Reason.SOURCE_NOT_ALLOWED),
    (UP, "192.168.10.50", Reason.WRONG_INTERFACE),
    (D1, "192.168.10.50", Reason.FORWARD),
    (D1, "192.168.20.11", Reason.WRONG_INTERFACE),
    (D1, "10.99.0.1", Reason.SOURCE_NOT_ALLOWED),
    (D1, "0.0.0.0", Reason.BAD_SOURCE),
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


def test_the_longest_subnet_owns_a_source():
    table = fib(upstream(networks=(net("10.0.0.1/8"),)), downstream(D1, networks=(net("10.1.0.1/16"),)), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D2))
    assert table.decide(UP, ip("10.1.2.3"), G).reason == Reason.WRONG_INTERFACE
    assert table.decide(D1, ip("10.1.2.3"), G) == Decision(Reason.FORWARD, bits(UP, D2))
    assert table.decide(UP, ip("10.2.2.3"), G) == Decision(Reason.FORWARD, bits(D2))


def test_boundary():
    """F-08: 239.255/16 does not cross up, in either direction."""
    group = ip("239.255.1.1")
    access = AccessList(boundary=(Network.parse("239.255.0.0/16"),))
    table = fib(upstream(access=access), downstream(D1), downstream(D2))
    table.set_route(group, 32, None, 32, None, bits(D2))
    assert table.decide(D1, ip("192.168.10.9"), group) == Decision(Reason.FORWARD, bits(D2))
    assert table.decide(D2, ip("192.168.20.9"), group) == Decision(Reason.BOUNDARY)
    assert table.decide(UP, A, group) == Decision(Reason.BOUNDARY)
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.FORWARD, bits(UP))


def entries(*texts: str) -> tuple[Entry, ...]:
    return tuple(map(Entry.parse, texts))


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
    assert table.decide(ingress, ip(source), ip(group)) == expected


def test_sources_downstream_go_to_the_upstreams_that_admit_the_group():
    refusing = AccessList(deny=entries("239.1.0.0/16"))
    table = fib(upstream(), upstream(D3, networks=(), access=refusing), downstream(D1))
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.FORWARD, bits(UP))
    assert table.decide(D1, ip("192.168.10.9"), G2) == Decision(Reason.FORWARD, bits(UP, D3))


def test_ssm_goes_upstream_on_request_only():
    table, group = fib(), ip("232.1.1.1")
    table.set_on_request(Network.parse("232.0.0.0/8"))
    assert table.decide(D1, ip("192.168.10.9"), group) == Decision(Reason.NO_MEMBERS)
    table.set_route(group, 32, None, 32, None, bits(D2))
    assert table.decide(D1, ip("192.168.10.9"), group) == Decision(Reason.FORWARD, bits(D2))
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.FORWARD, bits(UP))
    table.set_route(group, 32, ip("192.168.10.9"), 32, None, bits(UP, D3), "static")
    assert table.decide(D1, ip("192.168.10.9"), group) == Decision(Reason.FORWARD, bits(UP, D3))
    table.set_on_request(None)
    assert table.decide(D1, ip("192.168.10.8"), group) == Decision(Reason.FORWARD, bits(UP, D2))


def test_only_the_querier_mask_makes_not_querier():
    table = fib(upstream(), downstream(D1), downstream(D2, up=False), queriers=0)
    table.set_route(G, 32, None, 32, None, bits(D1))
    table.set_route(G2, 32, None, 32, None, bits(D2))
    assert table.decide(UP, A, G) == Decision(Reason.NOT_QUERIER)
    assert table.decide(UP, A, G2) == Decision(Reason.NO_MEMBERS)
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.FORWARD, bits(UP))


def test_ports_that_are_down_get_nothing():
    table = fib(upstream(up=False), downstream(D1, up=False), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D1))
    assert table.decide(D2, ip("192.168.20.9"), G) == Decision(Reason.NO_MEMBERS)


def test_every_upstream_gets_what_comes_from_downstream():
    table = fib(upstream(), downstream(D1), upstream(D2, networks=()))
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.FORWARD, bits(UP, D2))
    assert table.decide(UP, A, G) == Decision(Reason.NO_MEMBERS)


def test_a_static_route_without_ports_blocks_upstream_too():
    table = fib()
    table.set_route(G, 32, None, 32, None, bits(D1, D2))
    table.set_route(G, 32, ip("192.168.10.9"), 32, None, 0, "block")
    assert table.decide(D1, ip("192.168.10.9"), G) == Decision(Reason.NO_MEMBERS)
    assert table.decide(D1, ip("192.168.10.8"), G) == Decision(Reason.FORWARD, bits(UP, D2))


def test_a_static_route_is_not_masked_by_querier_roles():
    table = fib(queriers=0)
    table.set_route(G, 32, None, 32, UP, bits(D1), "static")
    assert table.decide(UP, A, G) == Decision(Reason.FORWARD, bits(D1))


def test_a_static_route_for_one_ingress_leaves_the_others_no_way_in():
    table = fib(upstream(), upstream(D4, networks=()), downstream(D1), downstream(D2))
    table.set_route(G, 32, None, 32, None, bits(D2))
    table.set_route(G, 24, A, 32, UP, bits(D1), "static")
    assert table.decide(UP, A, G) == Decision(Reason.FORWARD, bits(D1))
    assert table.decide(D4, A, G) == Decision(Reason.WRONG_INTERFACE)
    assert table.decide(D4, B, G) == Decision(Reason.FORWARD, bits(D2))
    table.set_route(G, 24, A, 32, D4, 0, "block")
    assert table.decide(D4, A, G) == Decision(Reason.NO_MEMBERS)
    table.delete_route(G, 24, A, 32, D4, static=True)
    table.set_route(G, 16, None, 32, None, bits(D2), "static")
    assert table.decide(D4, A, G) == Decision(Reason.FORWARD, bits(D2))


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
    assert table.decide(UP, A, G) == Decision(Reason.NO_MEMBERS)
    assert not table.wanted(np.array([G], np.uint32)).any()


def test_a_route_that_ends_leaves_those_of_its_kind():
    table = fib()
    table.set_route(G, 32, None, 32, None, bits(D1))
    table.set_route(G2, 32, None, 32, None, bits(D2))
    table.delete_route(G, 32, None, 32, None)
    table.set_route(ip("239.3.0.0"), 16, None, 32, None, bits(D3))      # another class: all are sorted again
    assert table.decide(UP, A, G2) == Decision(Reason.FORWARD, bits(D2))
    assert table.decide(UP, A, G) == Decision(Reason.NO_MEMBERS)
    assert table.wanted(np.array([G, G2, ip("239.3.7.7")], np.uint32)).tolist() == [False, True, True]
    table.delete_route(G2, 32, None, 32, None)
    assert table.decide(UP, A, G2) == Decision(Reason.NO_MEMBERS)
    assert table.wanted(np.array([G2], np.uint32)).tolist() == [False]


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
    wanted = table.wanted(np.array([group, ip("225.0.0.1")], np.uint32)).tolist()
    assert wanted == [any(at >> 32 - key[1] == key[0] for key in model) for at in (group, ip("225.0.0.1"))]
