"""What stands below a table."""

from forwarder.diagnosis import notes


def row(name, role="downstream", state="up", degraded=None, **igmp):
    return {"name": name, "role": role, "state": state, "degraded": degraded, "igmp": igmp}


def test_nothing_where_all_is_well():
    assert notes.of_interfaces([row("eth0", "upstream"), row("eth1")]) == []


def test_interfaces_of_the_same_reason_are_a_line_with_what_helps():
    rows = [row("eth0", state="missing"), row("eth1", state="down"), row("eth2", state="down"),
            row("eth3", degraded="no ring"), row("eth4", degraded="no ring"), row("eth5", degraded="port of br0")]
    assert notes.of_interfaces(rows) == [
        "eth1, eth2 are down: not set up (ip link set NAME up), or nothing at its other end",
        "eth0 is missing: there is no such interface now (ip link); it is waited for",
        "eth3, eth4 are degraded: no ring",
        "eth5 is degraded: port of br0",
    ]


def test_what_is_down_and_degraded_is_said_once():
    assert notes.of_interfaces([row("eth0", state="down", degraded="no ring")]) == ["eth0 is degraded: no ring"]


def test_receivers_on_an_upstream_interface_may_be_why_nobody_has_joined():
    rows = [row("eth0", report_v3=2), row("eth1", "upstream", report_v2=0, report_v3=1)]
    assert notes.of_emptiness(rows) == [
        "hosts on eth1 ask for groups, but it is upstream: only downstream interfaces serve receivers"
    ]
    assert notes.of_emptiness([row("eth0", report_v3=2), row("eth1", "upstream", report_v2=0)]) == []
