"""What nft and iptables-save say, as they print it; damaged answers drop nothing and end nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.diagnosis.doctor.facts import FirewallFacts
from forwarder.diagnosis.doctor.rulesets import of_iptables, of_nft

DROP, ACCEPT = {"drop": None}, {"accept": None}


def chain(name, family="ip", table="filter", **facts):
    return {"chain": {"family": family, "table": table, "name": name, "handle": 1, **facts}}


def rule(*expressions, chain="input", family="ip", table="filter", handle=4):
    said = {"family": family, "table": table, "chain": chain, "handle": handle, "expr": list(expressions)}
    return {"rule": said}


def match(right, left=None, op="=="):
    return {"match": {"op": op, "left": left or {"payload": {"protocol": "ip", "field": "daddr"}}, "right": right}}


def facts(*items):
    return of_nft(json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *items]}))


INPUT = chain("input", hook="input", type="filter", prio=0, policy="accept")
GROUPS = {"prefix": {"addr": "224.0.0.0", "len": 4}}


@pytest.mark.parametrize(
    "right",
    ["igmp", 2, "multicast", "239.1.1.1", GROUPS, {"set": ["10.0.0.1", GROUPS]}, {"range": ["224.0.0.1", "230.0.0.1"]}],
    ids=str,
)
def test_a_rule_that_drops_multicast_is_found_with_the_command_that_deletes_it(right):
    [found] = facts(INPUT, rule(match(right), {"counter": {"packets": 0, "bytes": 0}}, DROP)).rules
    assert found.remedy == "nft delete rule ip filter input handle 4"
    assert found.place == "rule ip filter input handle 4"
    assert found.text.startswith("ip daddr ")
    assert found.text.endswith("drop")
    assert found.devices == ()


@pytest.mark.parametrize(
    "items",
    [
        (INPUT, rule(match("10.0.0.1"), DROP)),
        (INPUT, rule(match(GROUPS), ACCEPT)),
        (INPUT, rule(match(GROUPS, op="!="), DROP)),
        (INPUT, rule(DROP)),                                        # of what is left: not about multicast
        (chain("alone"), rule(match("igmp"), DROP, chain="alone")),     # nothing leads there
        (chain("input", family="ip6", hook="input"), rule(match("igmp"), DROP, family="ip6")),
    ],
)
def test_other_rules_are_passed_over(items):
    assert facts(*items) == FirewallFacts()


def test_a_chain_that_is_jumped_to_counts():
    inner = rule(match("igmp"), {"reject": {"type": "icmp"}}, chain="inner", handle=9)
    [found] = facts(INPUT, chain("inner"), rule({"jump": {"target": "inner"}}), inner).rules
    assert found.remedy.endswith("inner handle 9")
    loop = rule({"goto": {"target": "input"}}, chain="inner")
    assert facts(INPUT, chain("inner"), rule({"jump": {"target": "inner"}}), loop, inner).rules == (found,)


def test_a_policy_that_drops_is_found_unless_multicast_is_accepted():
    closed = chain("input", hook="input", policy="drop")
    [found] = facts(closed, rule(match("10.0.0.1"), ACCEPT)).rules
    assert found.remedy == "nft insert rule ip filter input ip daddr 224.0.0.0/4 accept"
    assert facts(closed, rule(match(GROUPS), ACCEPT)).rules == ()
    assert facts(closed, rule(ACCEPT)).rules == ()


@pytest.mark.parametrize("devices", ["eth0", ["eth0", "eth1"]])
def test_a_hook_of_a_device_counts_whatever_it_drops_but_other_protocols(devices):
    hook = chain("c", "netdev", "t", hook="ingress", dev=devices, policy="accept")
    names = ("eth0",) if devices == "eth0" else ("eth0", "eth1")
    [found] = facts(hook, rule(DROP, chain="c", family="netdev", table="t")).rules
    assert (found.devices, found.remedy) == (names, "nft delete rule netdev t c handle 4")
    harmless = facts(hook, rule(match("tcp"), DROP, chain="c", family="netdev", table="t"))
    assert harmless == FirewallFacts(seeing=(("chain netdev t c (ingress)", names),))


def test_a_policy_of_a_device_that_drops_has_its_command():
    [found] = facts(chain("c", "netdev", "t", hook="egress", dev="eth0", policy="drop")).rules
    assert found.remedy == "nft chain netdev t c '{ policy accept; }'"


LISTED = """table ip filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
}
table netdev t {
	chain c {
		type filter hook ingress device "eth0" priority filter; policy accept;
	}
	chain d {
		type filter hook egress devices = { "eth1", eth2 } priority filter; policy accept;
	}
}
"""


def test_devices_that_older_json_does_not_name_are_taken_from_the_list_for_people():
    chains = [chain(name, "netdev", "t", hook="ingress", policy="accept") for name in "cd"]
    rules = json.dumps({"nftables": [*chains, rule(DROP, chain="c", family="netdev", table="t")]})
    found = of_nft(rules, LISTED)
    assert [each.devices for each in found.rules] == [("eth0",)]
    assert found.seeing == (("chain netdev t d (ingress)", ("eth1", "eth2")),)
    assert of_nft(rules) == FirewallFacts()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nftables": 3}', '{"nftables": [{"rule": {}}]}', "null",
                                  '{"nftables": [{"chain": null}]}'])  # fmt: skip
def test_what_is_no_answer_of_nft_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        of_nft(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["match", "right", "left", "op", "drop", "jump", "target", "prefix", "addr", "set", "range"]),
        inner, max_size=3), max_leaves=8,
)  # fmt: skip


@given(st.lists(anything, max_size=4))
def test_expressions_of_any_shape_are_understood_or_refused(expressions):
    for hook in (INPUT, chain("input", hook="ingress", dev="eth0")):
        try:
            assert isinstance(facts(hook, rule(*expressions)), FirewallFacts)
        except ValueError:
            pass


SAVED = """\
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m pkttype --pkt-type multicast -j DROP
COMMIT
*filter
:INPUT {policy} [0:0]
-A INPUT -d 239.0.0.0/8 -p udp -j REJECT --reject-with icmp-port-unreachable
-A INPUT ! -d 239.0.0.0/8 -j DROP
-A INPUT -p igmp -j {igmp}
COMMIT
"""


def test_iptables_rules_are_found_with_the_commands_that_delete_them():
    found = of_iptables(SAVED.format(policy="ACCEPT", igmp="DROP")).rules
    assert [each.remedy for each in found] == [
        "iptables -t mangle -D PREROUTING -m pkttype --pkt-type multicast -j DROP",
        "iptables -t filter -D INPUT -d 239.0.0.0/8 -p udp -j REJECT --reject-with icmp-port-unreachable",
        "iptables -t filter -D INPUT -p igmp -j DROP",
    ]


def test_names_and_comments_are_no_commands():
    """Whoever makes rules here chooses them, and root runs what a remedy says."""
    line = '-A INPUT -p igmp -m comment --comment "$(reboot)   # x" -j DROP'
    [found] = of_iptables(f"*filter\n{line}\n").rules
    assert found.remedy == "iptables -t filter -D INPUT -p igmp -m comment --comment '$(reboot)   # x' -j DROP"
    assert of_iptables('*filter\n-A INPUT -p igmp -m comment --comment "open -j DROP\n').rules == ()
    odd = "input; flush ruleset"
    [found] = facts(chain(odd, hook="input"), rule(match("igmp"), DROP, chain=odd)).rules
    assert found.remedy == "nft -a list ruleset"


def test_an_iptables_policy_that_drops_is_found_unless_multicast_is_accepted():
    closed = of_iptables(SAVED.format(policy="DROP", igmp="DROP")).rules
    assert closed[-1].remedy == "iptables -I INPUT -d 224.0.0.0/4 -j ACCEPT"
    assert len(of_iptables(SAVED.format(policy="DROP", igmp="ACCEPT")).rules) == len(closed) - 2


@given(st.text())
def test_any_text_is_an_answer_of_iptables(text):
    assert isinstance(of_iptables(text), FirewallFacts)
