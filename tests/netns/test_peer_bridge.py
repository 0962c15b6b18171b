"""A Linux bridge with multicast snooping between us and the receivers: it opens and closes its ports by our queries.

    source -- up0 [router] down0 -- uplink [bridge] port0 -- receiver0
                                                    port1 -- receiver1
                                                    port2 -- receiver2

Every test runs with a bridge that snoops IGMPv2 (the kernel's default) and with one that snoops IGMPv3, whose ports
have source filters of their own.
"""

import pytest

from bench.peers.snooping import Bridge, obstacle
from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.programs import Receiver
from forwarder.lab.topology import LINK, SOURCE
from forwarder.lab.wait import wait_for
from netns.peers import (
    EARLY,
    GENERAL_QUERY,
    GROUP_MEMBERSHIP_INTERVAL,
    LAST_MEMBER_QUERY_TIME,
    LATE,
    UPSTREAM,
    Plant,
    cable,
    host,
    skip_without,
)
from netns.site import OTHER_SOURCE, send_datagrams, send_igmp, v2_report, v3_report

OURS = "192.168.10.1"
HOSTS = ("192.168.10.11", "192.168.10.12", "192.168.10.13")
PORTS = ("port0", "port1", "port2")
QUERIER_INTERVAL = 3.0      # seconds after which the bridge forgets a querier


class Snooped(Plant):
    """See the module; `wire` is the link between mcfwd and the bridge."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    def _wire(self) -> None:
        stack = self._stack
        self.router = host(stack, "router")
        cable(self.router, "up0", self.source, at=UPSTREAM, to=SOURCE)
        cable(self.router, "down0", self.switch, "uplink", at=OURS)
        self.hosts = [host(stack, f"receiver{number}") for number in range(3)]
        for namespace, port, address in zip(self.hosts, PORTS, HOSTS, strict=True):
            cable(namespace, LINK, self.switch, port, at=address)
            links.add_default_route(namespace, OURS)
        links.bridge(self.switch, "br0", ["uplink", *PORTS])
        self.bridge = Bridge(self.switch)
        self.bridge.configure(
            mcast_igmp_version=self.version,
            mcast_membership_interval=round(100 * GROUP_MEMBERSHIP_INTERVAL),
            mcast_last_member_interval=round(100 * LAST_MEMBER_QUERY_TIME / 2),
            mcast_querier_interval=round(100 * QUERIER_INTERVAL),
        )
        self.wire, self.upstream = self.capture(self.switch, "uplink"), self.capture(self.source)
        self.receivers = [stack.enter_context(Receiver(namespace)) for namespace in self.hosts]
        self.streams = [self.stream(namespace) for namespace in self.hosts]
        self.mcfwd = self.run_mcfwd(self.router, "-u", "up0", "-d", "down0")
        # Before it knows a querier, and until the time for answers is over, a bridge sends everything everywhere.
        heard = self.wire.wait_asked(OURS)
        self.wire.wait_asked(OURS, since=heard.time + 0.5)

    def wait_open(self, group: str, *ports: str) -> None:
        """Until exactly these ports are open for the group, but for the one towards us."""
        wanted = set(ports)
        wait_for(lambda: set(self.bridge.ports(group)) - {"uplink"} == wanted, 8.0, f"{wanted} for {group}")

    def arrived(self, group: str, since: float = 0.0) -> list[set[str]]:
        """The sources of the group that each receiver's link has carried."""
        return [stream.sources(group, since) for stream in self.streams]


@pytest.fixture(scope="module", params=[2, 3], ids=["snoops-v2", "snoops-v3"])
def snooped(request):
    """A bridge of each version with mcfwd as its querier."""
    skip_without(obstacle())
    with Snooped(request.param) as plant:
        yield plant
        assert plant.wire.complaints(OURS) == []


# RFC 4541 2.1.1 b
def test_our_queries_make_our_port_the_router_port_of_the_bridge_and_reach_all_others(snooped):
    wait_for(lambda: snooped.bridge.router_ports() == {"uplink"}, 5.0, "router port")
    assert {query.fields for query in snooped.wire.asked(OURS)} == {GENERAL_QUERY}
    asked = snooped.wire.last_asked(OURS).time
    for namespace in snooped.hosts:
        with Capture(namespace) as capture:
            capture.wait_for(lambda frame: frame.source == OURS and frame.time > asked, 5.0, "query behind the bridge")


def test_a_port_opens_by_a_report_and_closes_by_our_query_while_others_stay_open(snooped):
    group = snooped.new_group()
    snooped.receivers[0].join(group)
    snooped.upstream.wait_told(UPSTREAM, group, "TO_EX")
    snooped.wait_open(group, "port0")
    snooped.streams[0].wait(group, count=5)
    snooped.receivers[1].join(group)
    snooped.wait_open(group, "port0", "port1")
    snooped.streams[1].wait(group, count=5)

    snooped.receivers[0].leave(group)
    left = snooped.wire.wait_told(HOSTS[0], group, "TO_IN").time
    query = snooped.wire.wait_asked(OURS, group)
    assert query.fields == (3, group, 0.2, (), False, 2, 1)
    snooped.wait_open(group, "port1")
    last = snooped.streams[0].wait_end(group)
    assert last - left < LAST_MEMBER_QUERY_TIME + LATE
    answer = snooped.wire.wait_told(HOSTS[1], group, "IS_EX", since=query.time)
    assert answer.time - query.time < LAST_MEMBER_QUERY_TIME + LATE
    snooped.streams[1].wait(group, since=last + LATE)
    assert snooped.upstream.changes(UPSTREAM, group) == [("TO_EX", ())]

    snooped.receivers[1].leave(group)
    snooped.upstream.wait_told(UPSTREAM, group, "TO_IN")
    snooped.wait_open(group)
    snooped.streams[1].wait_end(group)
    assert snooped.streams[2].frames(group) == []


def test_our_general_queries_keep_ports_open_beyond_the_membership_interval_of_the_bridge(snooped):
    group = snooped.new_group()
    snooped.receivers[2].reset()
    snooped.receivers[2].join(group)
    joined = snooped.streams[2].wait(group).time
    snooped.streams[2].wait(group, since=joined + GROUP_MEMBERSHIP_INTERVAL + 0.5)
    assert "port2" in snooped.bridge.ports(group)
    assert snooped.receivers[2].report().total("lost") == 0
    assert snooped.arrived(group)[:2] == [set(), set()]
    snooped.receivers[2].leave(group)
    snooped.wait_open(group)


# RFC 4541 2.1.1 i
@pytest.mark.parametrize("version", [2, 3])
def test_a_host_that_falls_silent_is_timed_out_by_the_bridge_and_by_us(snooped, version):
    group = snooped.new_group()
    message, destination = (v2_report(group), group) if version == 2 else (v3_report(group), "224.0.0.22")
    send_igmp(snooped.hosts[1], message, destination)
    reported = snooped.wire.wait_told(HOSTS[1], group, {2: "report v2", 3: "TO_EX"}[version]).time
    snooped.wait_open(group, "port1")
    snooped.streams[1].wait(group)
    ended = snooped.upstream.wait_told(UPSTREAM, group, "TO_IN").time
    assert GROUP_MEMBERSHIP_INTERVAL - EARLY < ended - reported < GROUP_MEMBERSHIP_INTERVAL + LATE
    snooped.wait_open(group)
    assert snooped.streams[1].wait_end(group) - reported < GROUP_MEMBERSHIP_INTERVAL + LATE
    assert snooped.arrived(group)[::2] == [set(), set()]


def test_receivers_of_version_2_behind_the_bridge_join_and_leave(snooped):
    group = snooped.new_group()
    for namespace in snooped.hosts:
        namespace.sysctl(f"ipv4/conf/{LINK}/force_igmp_version", 2)
    try:
        snooped.receivers[0].join(group)
        snooped.wire.wait_told(HOSTS[0], group, "report v2")
        snooped.upstream.wait_told(UPSTREAM, group, "TO_EX")
        assert snooped.mcfwd.wait_member("down0", group)["compatibility"] == 2
        snooped.wait_open(group, "port0")
        snooped.streams[0].wait(group, count=3)
        snooped.receivers[0].leave(group)
        snooped.wire.wait_told(HOSTS[0], group, "leave")
        snooped.upstream.wait_told(UPSTREAM, group, "TO_IN")
        snooped.wait_open(group)
        snooped.streams[0].wait_end(group)
        assert snooped.arrived(group)[1:] == [set(), set()]
    finally:
        for namespace in snooped.hosts:
            namespace.sysctl(f"ipv4/conf/{LINK}/force_igmp_version", 0)


def test_a_channel_behind_the_bridge_brings_its_sources_to_whom_the_bridge_lets_them(snooped):
    """With version 3 every port gets its own source, with version 2 both get what one of them wants."""
    channel = snooped.new_channel()
    snooped.receivers[0].join(channel, SOURCE)
    snooped.upstream.wait_told(UPSTREAM, channel, "ALLOW", SOURCE)
    snooped.streams[0].wait(channel, SOURCE, count=5)
    assert snooped.arrived(channel) == [{SOURCE}, set(), set()]
    snooped.receivers[1].join(channel, OTHER_SOURCE)
    snooped.upstream.wait_told(UPSTREAM, channel, "ALLOW", OTHER_SOURCE)
    both = snooped.streams[1].wait(channel, OTHER_SOURCE, count=5).time
    wait_for(lambda: set(snooped.bridge.ports(channel)) >= {"port0", "port1"}, 5.0, "two ports")
    if snooped.version == 3:
        assert [snooped.bridge.ports(channel)[port] for port in PORTS[:2]] == [{SOURCE}, {OTHER_SOURCE}]
        assert snooped.arrived(channel) == [{SOURCE}, {OTHER_SOURCE}, set()]
    else:
        assert snooped.arrived(channel, both - EARLY)[2] == set()

    snooped.receivers[0].leave(channel, SOURCE)
    left = snooped.wire.wait_told(HOSTS[0], channel, "BLOCK", SOURCE).time
    query = snooped.wire.wait_asked(OURS, channel, since=left)
    assert query.fields == (3, channel, 0.2, (SOURCE,), False, 2, 1)
    ended = snooped.upstream.wait_told(UPSTREAM, channel, "BLOCK", SOURCE).time
    assert LAST_MEMBER_QUERY_TIME - EARLY < ended - left < LAST_MEMBER_QUERY_TIME + LATE
    snooped.streams[1].wait(channel, OTHER_SOURCE, since=ended + LATE)
    assert snooped.arrived(channel, ended + LATE)[1:] == [{OTHER_SOURCE}, set()]
    snooped.receivers[1].leave(channel, OTHER_SOURCE)
    snooped.upstream.wait_told(UPSTREAM, channel, "BLOCK", OTHER_SOURCE)
    snooped.wait_open(channel)


def test_what_a_receiver_sends_reaches_us_through_the_router_port_and_goes_upstream(snooped):
    group = "239.9.9.1"
    with Capture(snooped.source, LINK, UDP) as upstream:
        send_datagrams(snooped.hosts[2], HOSTS[2], group)
        upstream.wait_for(lambda frame: (frame.source, frame.destination) == (HOSTS[2], group), 5.0, "datagram")
    assert [stream.frames(group, HOSTS[2]) for stream in snooped.streams[:2]] == [[], []]


def test_when_we_end_the_bridge_forgets_its_router_port_and_when_we_are_back_knows_it_again():
    skip_without(obstacle())
    with Snooped(2) as snooped:
        group = snooped.new_group()
        snooped.receivers[0].join(group)
        snooped.streams[0].wait(group)
        wait_for(lambda: snooped.bridge.router_ports() == {"uplink"}, 5.0, "router port")
        snooped.mcfwd.stop()
        last = snooped.streams[0].wait_end(group)
        wait_for(lambda: snooped.bridge.router_ports() == set(), QUERIER_INTERVAL + 5.0, "no router port")
        snooped.run_mcfwd(snooped.router, "-u", "up0", "-d", "down0")
        wait_for(lambda: snooped.bridge.router_ports() == {"uplink"}, 5.0, "router port again")
        snooped.streams[0].wait(group, since=last + 0.001)
        snooped.wait_open(group, "port0")
