"""Several in a row, in a tree and in a loop: every datagram once, and no more hops than it has TTL."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from netns.frames import Source
from netns.plant import carried, payloads, plant_of, wait_drops

GROUP = "239.8.8.8"
COUNT = 5000
HEADERS = 28    # octets of IPv4 and UDP


def test_links_that_are_joined_in_a_loop_do_not_multiply_frames(make_lab, stack, tmp_path):
    lab, switch = make_lab(1), stack.enter_context(Namespace("switch"))
    rewire(lab, switch)
    plant = stack.enter_context(plant_of(lab, tmp_path))
    member, drops = plant.join(stack, 0, GROUP), plant.drops()
    with Capture(lab.source, protocol=UDP) as capture, Source(lab.source, ttl=64) as source:
        source.send(GROUP, *payloads([200] * 20))
        assert len(member.receive(40) + member.rest(0.5)) == 40  # the switch's copy of each, and ours
        ours = carried(capture, GROUP) or []    # super-frames, and how many they are is a matter of when batches begin
        assert {frame.ttl for frame in ours} == {63}
        assert sum(len(frame.packet) - HEADERS for frame in ours) == 20 * 200
    wait_drops(plant, drops, {("up0", "bad_source"): 20, ("down0", "wrong_interface"): 20})


def rewire(lab: Lab, switch: Namespace) -> None:
    """All links of the lab end in one bridge."""
    ends = [(lab.source, LINK, f"{SOURCE}/24"), (lab.receivers[0], LINK, f"{lab.address(0)}/24")]
    links.delete(lab.router, "up0")
    links.delete(lab.router, "down0")
    ends += [(lab.router, "up0", f"{UPSTREAM}/24"), (lab.router, "down0", "192.168.10.1/24")]
    for number, (namespace, name, address) in enumerate(ends):
        links.veth(switch, f"port{number}", namespace, name)
        links.add_address(namespace, name, address)
        links.up(switch, f"port{number}")
        links.up(namespace, name)
    links.add_default_route(lab.receivers[0], "192.168.10.1")
    links.bridge(switch, "br0", [f"port{number}" for number in range(len(ends))], snooping=False)
    for namespace, name, _ in ends:
        links.wait_up(namespace, name)


def test_three_in_a_chain_give_exact_counts(stack):
    chain = [stack.enter_context(Namespace(name)) for name in ("source", "hop1", "hop2", "hop3", "leaf")]
    for number, (left, right) in enumerate(pairwise(chain)):
        wire(left, f"down{number}", right, number)
    running = [start(stack, hop) for hop in chain[1:-1]]
    check(stack, running, (chain[0], "down0"), [(chain[-1], running[-1], "down3")])


@pytest.mark.slow
def test_a_tree_of_seven_gives_exact_counts_at_every_leaf(stack):
    source = stack.enter_context(Namespace("source"))
    nodes = [stack.enter_context(Namespace(f"node{number}")) for number in range(7)]
    wire(source, "down", nodes[0], 0)
    for number in range(1, 7):
        wire(nodes[(number - 1) // 2], f"down{number}", nodes[number], number)
    leaves = [stack.enter_context(Namespace(f"leaf{number}")) for number in range(4)]
    for number, leaf in enumerate(leaves):
        wire(nodes[3 + number], "down", leaf, 7 + number)
    running = [start(stack, node) for node in nodes]
    check(stack, running, (source, "down"), [(leaf, running[3 + n], "down") for n, leaf in enumerate(leaves)])


def wire(left: Namespace, name: str, right: Namespace, number: int) -> None:
    """Network 10.NUMBER.0.0/24 between link `name` of the one and link `up` of the other."""
    links.veth(left, name, right, "up")
    for namespace, link, host in ((left, name, 1), (right, "up", 2)):
        for scope in ("all", link):
            namespace.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
        links.add_address(namespace, link, f"10.{number}.0.{host}/24")
        links.up(namespace, link)
    links.wait_up(right, "up")
    links.add_default_route(right, f"10.{number}.0.1")


def start(stack: ExitStack, hop: Namespace) -> Mcfwd:
    """mcfwd between the link `up` and all others."""
    return stack.enter_context(Mcfwd(hop, "-u", "up", "-d", "down*"))


def check(
    stack: ExitStack,
    running: Sequence[Mcfwd],
    origin: tuple[Namespace, str],
    leaves: Sequence[tuple[Namespace, Mcfwd, str]],
) -> None:
    """Every leaf, three hops from the origin, gets each of COUNT datagrams once; none is dropped anywhere."""
    receivers = [stack.enter_context(Receiver(leaf, GROUP, interface="up", verify=True)) for leaf, _, _ in leaves]
    for _, mcfwd, port in leaves:
        mcfwd.wait_member(port, GROUP, 10.0)
    for mcfwd in running:
        ports = {row["name"] for row in mcfwd.show("interfaces") if row["role"] == "downstream"}
        mcfwd.wait_for(lambda asked, ports=ports: {row["interface"] for row in asked.show("groups")} == ports, 10.0)
    with Capture(leaves[0][0], "up", UDP) as capture:
        with Sender(origin[0], GROUP, interface=origin[1], rate=5000, count=COUNT, ttl=4) as sender:
            assert sender.wait(20.0).count == COUNT
        for receiver in receivers:
            receiver.wait_received(COUNT, 20.0)
            report = receiver.settle()
            counts = [report.total(what) for what in ("received", "lost", "duplicated", "reordered", "altered")]
            assert counts == [COUNT, 0, 0, 0, 0]
        assert {frame.ttl for frame in carried(capture, GROUP) or ()} == {1}
    dropped = [count for mcfwd in running for row in mcfwd.show("interfaces") for count in row["drops"].values()]
    assert set(dropped) == {0}
