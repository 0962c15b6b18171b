"""Scenarios 34 to 36 and 45: what is forwarded, what is not, and where two forwarders meet.

| scenario | proven by |
|---|---|
| 34 data that arrives on the wrong link | test_drops: a_source_of_another_ports_subnet…; here: beside the right one |
| 35 data before the first member | test_membership: the_next_datagram_of_a_stream…; here: nothing is held |
| 36 TTL and threshold | test_drops: ttl_1…, the_threshold…; test_forwarding: checksums; here: 64 and 65 |
| 38 links that go and come | test_link_events |
| 43, 44, 46 payload, trees, links deleted | test_forwarding, test_cascades, test_link_events |
| 45 two forwarders, own frames | test_cascades: links_that_are_joined_in_a_loop…; here: two between the same networks |
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK, SOURCE
from netns.frames import Injector, Member, Source, checksum, udp
from netns.plant import Plant, counted, new_lab, plant_of
from netns.scenarios import SOON

THRESHOLD = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
threshold = 65
[[interface]]
name = "down1"
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """Two receivers, the first behind a threshold of 65."""
    with new_lab(2) as lab, plant_of(lab, tmp_path_factory.mktemp("plant"), THRESHOLD) as made:
        yield made


def test_34_a_copy_that_arrives_on_the_wrong_link_is_counted_and_the_right_one_goes_on(plant, stack):
    group = plant.group()
    member = plant.join(stack, 1, group)
    wrong = {("down0", "wrong_interface"): 5}
    astray, right = (stack.enter_context(Injector(each)) for each in (plant.lab.receivers[0], plant.lab.source))
    with counted(plant, "down0", 5, wrong):
        for number in range(5):
            astray.send(udp(SOURCE, group, b"astray %d" % number))
            right.send(udp(SOURCE, group, b"right %d" % number))
        assert sorted(member.receive(5)) == [b"right %d" % number for number in range(5)]
    assert member.rest() == []
    rows = {row["upstream"]: row for row in plant.mcfwd.show("flows") if row["group"] == group}
    assert (rows["down0"]["verdict"], rows["down0"]["wrong_packets"]) == ("wrong_interface", 5)
    assert (rows["up0"]["verdict"], rows["up0"]["wrong_packets"]) == ("forward", 0)


def test_35_nothing_is_held_for_members_to_come_and_nothing_after_the_first_is_lost(plant, stack):
    """A kernel holds up to ten packets of a flow nobody has decided on; mcfwd holds none, and so delays none."""
    group = plant.group()
    with Source(plant.lab.source) as source:
        with counted(plant, "up0", 20, {("up0", "no_members"): 20}):
            source.send(group, *(b"before %d" % number for number in range(20)))
        member = plant.join(stack, 1, group)
        source.send(group, *(b"after %d" % number for number in range(20)))
        assert member.receive(20) == [b"after %d" % number for number in range(20)]
    assert member.rest() == []
    assert plant.flow(group)["packets"] == 40


def test_36_a_ttl_below_the_threshold_stays_and_one_that_reaches_it_goes_with_one_less(plant, stack):
    group = plant.group()
    near, far = (plant.join(stack, number, group) for number in (0, 1))
    with Capture(plant.lab.receivers[0], LINK, UDP) as capture:
        with counted(plant, "up0", 4, {("up0", "ttl_expired"): 1, ("down0", "ttl_threshold"): 2}):
            for ttl in (1, 2, 64, 65):
                with Source(plant.lab.source, ttl=ttl) as source:
                    source.send(group, b"%d" % ttl)
            assert far.receive(3) == [b"2", b"64", b"65"]
            assert near.receive(1) == [b"65"]
        [frame] = capture.select(lambda frame: frame.destination == group)
    assert (frame.ttl, checksum(frame.packet[:20])) == (64, 0)
    assert (near.rest(), far.rest()) == ([], [])


# --- two forwarders between the same two networks ---

TIMERS = """
[igmp]
query_interval = 1.0
query_response_interval = 0.4
startup_query_interval = 0.3
last_member_query_interval = 0.2
"""


class Twins:
    """A source's network and a receiver's, and two mcfwd between them; 192.168.10.1 is the lower address."""

    def __init__(self, stack: ExitStack, directory) -> None:
        switch = stack.enter_context(Namespace("switch"))
        self.source = stack.enter_context(Namespace("source"))
        self.receiver = stack.enter_context(Namespace("receiver"))
        routers = [stack.enter_context(Namespace(f"router{number}")) for number in (1, 2)]
        ends = [
            (self.source, LINK, f"{SOURCE}/24", "a"),
            (self.receiver, LINK, "192.168.10.11/24", "b"),
        ]
        for number, router in enumerate(routers, 1):
            ends += [(router, "up0", f"10.0.0.{number + 1}/24", "a"), (router, "down0", f"192.168.10.{number}/24", "b")]
        for number, (namespace, name, address, _) in enumerate(ends):
            self._wire(switch, f"port{number}", namespace, name, address)
        for network in "ab":
            ports = [f"port{number}" for number, end in enumerate(ends) if end[3] == network]
            links.bridge(switch, f"br-{network}", ports, snooping=False)
        for namespace, name, *_ in ends:
            links.wait_up(namespace, name)
        links.add_default_route(self.receiver, "192.168.10.1")
        file = directory / "mcfwd.toml"
        file.write_text(TIMERS)
        arguments = ("-u", "up0", "-d", "down0", "-c", str(file))
        self.mcfwds = [stack.enter_context(Mcfwd(router, *arguments)) for router in routers]

    @staticmethod
    def _wire(switch: Namespace, port: str, namespace: Namespace, name: str, address: str) -> None:
        for scope in ("all", "default"):
            namespace.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
        links.veth(switch, port, namespace, name)
        links.add_address(namespace, name, address)
        links.up(switch, port)
        links.up(namespace, name)

    def wait_roles(self, *queriers: bool) -> None:
        """Returns when each of the two is querier, or not, on the receiver's network."""
        for mcfwd, wanted in zip(self.mcfwds, queriers, strict=True):
            mcfwd.wait_for(lambda m, w=wanted: m.interface("down0")["querier"] == w, SOON, f"querier {wanted}")


@pytest.fixture
def twins(stack, tmp_path) -> Twins:
    return Twins(stack, tmp_path)


def test_45_of_two_forwarders_between_the_same_networks_one_forwards_and_none_sends_back(twins, stack):
    group = "239.8.8.8"
    twins.wait_roles(True, False)
    member = stack.enter_context(Member(twins.receiver, group))
    for mcfwd in twins.mcfwds:
        mcfwd.wait_member("down0", group, SOON)
    link = stack.enter_context(Capture(twins.receiver, LINK, UDP))
    home = stack.enter_context(Capture(twins.source, LINK, UDP))
    payloads = [b"." * size for size in range(1, 201)]  # ever longer: on the wire each is a frame of its own
    with Source(twins.source, ttl=64) as source:
        source.send(group, *payloads)
        assert member.receive(200) + member.rest(0.5) == payloads
    assert home.select(lambda frame: not frame.outgoing) == []
    twins.mcfwds[1].wait_for(lambda m: m.interface("down0")["drops"]["not_querier"] == 200, SOON, "not_querier")
    assert twins.mcfwds[0].interface("down0")["drops"]["not_querier"] == 0

    # From the receiver's network both carry upstream (RFC 4605 section 4.2 leaves that open), none brings it back.
    with Source(twins.receiver, ttl=64) as source:
        source.send(group, *payloads)
        home.wait_for(lambda frame: frame.payload[8:] == payloads[-1] and not frame.outgoing, SOON)
        member.rest(0.5)
    returned = Counter(frame.payload[8:] for frame in home.select(lambda frame: not frame.outgoing))
    assert returned == Counter(dict.fromkeys(payloads, 2))
    assert link.select(lambda frame: not frame.outgoing and frame.source != SOURCE) == []


def test_45_when_the_one_that_forwards_is_gone_the_other_takes_over_without_a_second_copy(twins, stack):
    group = "239.8.8.9"
    twins.wait_roles(True, False)
    stack.enter_context(Member(twins.receiver, group))
    for mcfwd in twins.mcfwds:
        mcfwd.wait_member("down0", group, SOON)
    link = stack.enter_context(Capture(twins.receiver, LINK, UDP))
    with Source(twins.source, ttl=64) as source:
        numbers = itertools.count()

        def flows(_: Mcfwd) -> bool:
            source.send(group, b"%d" % next(numbers))
            return len(link.select(lambda frame: frame.destination == group)) > 20

        twins.mcfwds[0].wait_for(flows, SOON, "stream by the first")
        assert twins.mcfwds[0].stop() == 0
        link.frames.clear()
        twins.mcfwds[1].wait_for(flows, SOON, "stream by the second")
    twins.mcfwds[1].wait_for(lambda m: m.interface("down0")["querier"], SOON, "querier")
    copies = Counter(frame.payload for frame in link.select(lambda frame: frame.destination == group))
    assert set(copies.values()) == {1}
