"""What the agent says of one group: reports and their age, one host, refusals, what is told and asked upstream."""

import json

import pytest

from forwarder.agent.inquiry import MOST_REFUSALS, Inquiry
from forwarder.agent.rpc import answers
from igmp.access import AccessList, Entry
from igmp.link import Link, Network, parse_address
from igmp.messages import Query, encode_query, encode_v2_report
from igmp.packet import encode
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

GROUP, HOST, ROUTER = map(parse_address, ("239.1.2.3", "192.168.1.11", "10.0.0.1"))
UP, DOWN, CLOSED = range(3)


def proxy_of() -> Proxy:
    """An upstream and two downstream ports, of which the second refuses the group."""
    made = Proxy(lambda: 1.0)
    denied = AccessList(deny=(Entry.parse("239.1.0.0/16"),))
    made.add_port(UP, PortOptions("upstream"))
    made.add_port(DOWN, PortOptions("downstream"))
    made.add_port(CLOSED, PortOptions("downstream", access=denied))
    for port, address in ((UP, "10.0.0.2"), (DOWN, "192.168.1.1"), (CLOSED, "192.168.2.1")):
        made.port_up(port, Link((Network(parse_address(address), 24),)), 0.0)
    return made


def report(host: int, group: int = GROUP) -> bytes:
    return encode(host, group, encode_v2_report(group))


def asked(proxy: Proxy, now: float, host: int | None = None, group: int = GROUP) -> dict[str, list[dict]]:
    rows = [row for row in Inquiry(proxy, lambda: now).answer({"group": group, "host": host}) if row]
    return {about: [row for row in rows if row["about"] == about] for about in {row["about"] for row in rows}}


def test_a_report_is_said_with_its_reporter_and_age():
    proxy = proxy_of()
    proxy.receive(DOWN, report(HOST), 10.0, mac=7)
    proxy.receive(DOWN, report(HOST, GROUP + 1), 11.0, mac=7)
    found = asked(proxy, 14.5, HOST)
    [group] = found["group"]
    assert (group["port"], group["group"], group["last_reporter"], group["heard"]) == (DOWN, GROUP, HOST, 4.5)
    assert group["compatibility"] == 2
    [host] = found["host"]
    assert (host["host"], host["mac"], host["mode"]) == (HOST, 7, "exclude")
    [upstream] = found["upstream"]
    assert (upstream["port"], upstream["group"], upstream["version"]) == (UP, GROUP, 3)
    assert "host" not in asked(proxy, 14.5)
    assert "host" not in asked(proxy, 14.5, HOST + 1)
    proxy.receive(DOWN, report(HOST), 20.0, mac=7)      # it repeats what it said
    assert asked(proxy, 21.0)["group"][0]["heard"] == 1.0


def test_the_last_query_upstream_is_said_until_the_link_goes():
    proxy = proxy_of()
    assert "query" not in asked(proxy, 1.0)
    query = encode_query(Query(max_response_time=10.0))
    proxy.receive(UP, encode(ROUTER, parse_address("224.0.0.1"), query), 5.0)
    assert asked(proxy, 9.0)["query"] == [{"about": "query", "port": UP, "source": ROUTER, "version": 3, "age": 4.0}]
    proxy.port_down(UP, 10.0)
    assert "query" not in asked(proxy, 11.0)


def test_refused_joins_are_the_newest_of_a_port_and_that_of_the_host():
    proxy = proxy_of()
    for number in range(MOST_REFUSALS + 36):
        proxy.receive(CLOSED, report(parse_address("192.168.2.10") + number), 1.0 + number / 1000, mac=number + 1)
    refusals = asked(proxy, 2.0)["refusal"]
    assert (len(refusals), {row["reason"] for row in refusals}) == (MOST_REFUSALS, {"deny"})
    assert parse_address("192.168.2.10") not in {row["host"] for row in refusals}
    own = asked(proxy, 2.0, parse_address("192.168.2.10"))["refusal"]
    assert (len(own), own[0]["host"]) == (MOST_REFUSALS + 1, parse_address("192.168.2.10"))
    assert "refusal" not in asked(proxy, 2.0, group=GROUP + 1)


def test_after_each_table_of_refusals_others_have_their_turn():
    """An empty row ends a message of the answer, and is in none."""
    proxy = proxy_of()
    proxy.receive(CLOSED, report(parse_address("192.168.2.10")), 1.0)
    messages = [json.loads(each) for each in answers(1, Inquiry(proxy, lambda: 2.0).answer({"group": 1, "host": None}))]
    assert [(each["rows"], each["more"]) for each in messages] == [([], True), ([], False)]


@pytest.mark.parametrize("request_", [{}, {"group": None, "host": None}, {"group": "x", "host": None}, {"group": 1}])
def test_a_question_that_is_none_is_refused_at_once(request_):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Inquiry(proxy_of(), lambda: 0.0).answer(request_)
