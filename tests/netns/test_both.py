"""Interfaces that are both, and what is joined: static routes in every direction, the same file run by smcrouted too.

    hosta eth0 ------ a0 [router] b0 ------ eth0 hostb
    10.0.1.11   10.0.1.1          10.0.2.1
                                  c0 ------ eth0 hostc
                                  10.0.3.1

The link of hosta is a port of a bridge that snoops and asks, so a kernel says who has joined there.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.peers.smcroute import Smcroute
from bench.peers.smcroute import obstacle as no_smcroute
from bench.peers.snooping import Bridge
from bench.peers.snooping import obstacle as no_bridge
from forwarder.config.formats import smcroute
from forwarder.config.formats.translation import Outside
from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture, Frame
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for
from netns.frames import Injector, udp
from netns.peers import cable, host, skip_without
from netns.site import told

PORTS = ("a0", "b0", "c0")
OURS = {"a0": "10.0.1.1", "b0": "10.0.2.1", "c0": "10.0.3.1"}
NEAR = {"a0": "10.0.1.11", "b0": "10.0.2.11", "c0": "10.0.3.11"}
MARKER = "239.79.0.1"
ROUND = "10.9.7.7"          # comes by two links
CONF = """\
# what the three halls of a factory have from each other
phyint a0 enable
phyint b0 enable ttl-threshold 15
phyint c0 enable
mgroup from a0 group 239.70.0.1
mgroup from a0 group 239.70.1.0/30
mroute from a0 group 239.70.0.1 to b0 c0
mroute from b0 group 239.70.0.1 to a0
mroute from a0 source 10.0.1.7 group 239.70.0.2 to c0
mroute from a0 group 239.71.0.0/24 to c0
mroute from b0 source 10.9.1.1 group 239.72.0.1 to a0
mroute from b0 source 10.9.2.0/24 group 239.72.1.0/24 to a0
mroute from a0 group 239.75.0.9
mroute from a0 group 239.75.0.0/16 to b0
mroute from a0 group 239.75.1.1 to c0
mroute from c+ group 239.73.0.1 to a0 b0
mroute from a0 group 239.79.0.1 to b0 c0
mroute from b0 group 239.79.0.1 to a0 c0
mroute from c0 group 239.79.0.1 to a0 b0
include more.conf
"""
MORE = "mroute from c0 group 239.74.0.1 to b0\n"


class Probe(NamedTuple):
    """A datagram that comes in by `port`, and by which ports it must leave."""

    port: str
    source: str
    group: str
    ttl: int
    leaves: frozenset[str]


def probe(port: str, source: str, group: str, leaves: str = "", ttl: int = 32) -> Probe:
    return Probe(port, source, group, ttl, frozenset(leaves.split()))


PROBES = [
    probe("a0", "10.0.1.11", "239.70.0.1", "b0 c0"),
    probe("b0", "10.0.2.11", "239.70.0.1", "a0"),
    probe("c0", "10.0.3.11", "239.70.0.1"),
    probe("a0", "10.0.1.7", "239.70.0.2", "c0"),
    probe("a0", "10.0.1.8", "239.70.0.2"),
    probe("b0", "10.0.2.7", "239.70.0.2"),
    probe("a0", "10.0.1.11", "239.71.0.77", "c0"),
    probe("a0", "10.0.1.11", "239.71.1.77"),
    probe("b0", "10.9.1.1", "239.72.0.1", "a0"),        # of no subnet here
    probe("b0", "10.9.1.2", "239.72.0.1"),
    probe("b0", "10.9.2.200", "239.72.1.7", "a0"),
    probe("b0", "10.9.3.200", "239.72.1.7"),
    probe("a0", "10.0.1.11", "239.75.0.9"),             # the first line that has it counts
    probe("a0", "10.0.1.11", "239.75.1.1", "b0"),
    probe("c0", "10.0.3.11", "239.73.0.1", "a0 b0"),
    probe("a0", "10.0.1.11", "239.73.0.1"),
    probe("c0", "10.0.3.11", "239.74.0.1", "b0"),
    # scopes: 15 is not above the threshold of b0, where it leaves; where it comes in that says nothing
    probe("a0", "10.0.1.12", "239.70.0.1", "b0 c0", ttl=16),
    probe("a0", "10.0.1.13", "239.70.0.1", "c0", ttl=15),
    probe("b0", "10.0.2.13", "239.70.0.1", "a0", ttl=2),
    probe("a0", "10.0.1.14", "239.70.0.1", ttl=1),
    # what one link has brought comes by no other one: it would go round
    probe("a0", ROUND, "239.70.0.1", "b0 c0"),
    probe("b0", ROUND, "239.70.0.1"),
]


class Crossing:
    """See the module."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self.router = stack, host(stack, "router")
        self.hosts = {port: host(stack, f"host{port[0]}") for port in PORTS}
        for port, namespace in self.hosts.items():
            cable(self.router, port, namespace, at=OURS[port], to=NEAR[port])
        links.bridge(self.hosts["a0"], "br0", [LINK])
        links.add_address(self.hosts["a0"], "br0", "10.0.1.12/24")
        self.bridge = Bridge(self.hosts["a0"])
        self.data = {port: stack.enter_context(Capture(each, protocol=UDP)) for port, each in self.hosts.items()}
        self.igmp = {port: stack.enter_context(Capture(each, protocol=IGMP)) for port, each in self.hosts.items()}
        self._ways = {port: stack.enter_context(Injector(each)) for port, each in self.hosts.items()}
        self._numbers = itertools.count(1)

    def send(self, port: str, source: str, group: str, ttl: int = 32) -> bytes:
        """A datagram comes in by `port`; what tells it from others."""
        payload = b"datagram %d." % next(self._numbers)
        self._ways[port].send(udp(source, group, payload, ttl=ttl))
        return payload

    def again(self, port: str) -> None:
        """The link of a port was made anew: what is sent and captured there."""
        namespace = self.hosts[port]
        self.data[port] = self._stack.enter_context(Capture(namespace, protocol=UDP))
        self.igmp[port] = self._stack.enter_context(Capture(namespace, protocol=IGMP))
        self._ways[port] = self._stack.enter_context(Injector(namespace))

    def settle(self) -> None:
        """What was sent before has come where it goes: a marker from each side did."""
        for port in PORTS:
            payload = self.send(port, NEAR[port], MARKER)
            for other in set(PORTS) - {port}:
                self.data[other].wait_for(lambda frame, mark=payload: mark in frame.payload, 10.0, "marker")

    def wait_leaves(self, port: str, group: str, *ports: str, source: str = "", ttl: int = 32) -> None:
        """Until what comes in by `port` leaves by `ports`; it is sent again and again."""
        sent: list[bytes] = []

        def leaves() -> bool:
            sent.append(self.send(port, source or NEAR[port], group, ttl))
            return any(self.came(each).keys() == set(ports) for each in sent)

        wait_for(leaves, 10.0, f"{group} by {ports}")

    def came(self, payload: bytes) -> dict[str, list[Frame]]:
        """What left of a datagram, by port."""
        found = {
            port: capture.select(lambda frame: not frame.outgoing and payload in frame.payload)
            for port, capture in self.data.items()
        }
        return {port: frames for port, frames in found.items() if frames}

    def decisions(self) -> list[tuple[Probe, dict[str, list[int]]]]:
        """What becomes of all probes: the TTL of what leaves, by port.

        They were sent before: the kernel holds the first of a flow back, or drops it, until smcrouted has told the way.
        """
        for port in PORTS:
            self.wait_leaves(port, MARKER, *{*PORTS} - {port})
        for each in PROBES:
            self.wait_leaves(each.port, each.group, *each.leaves, source=each.source, ttl=each.ttl)
        second = [self.send(*each[:4]) for each in PROBES]
        self.settle()
        return [
            (each, {port: [frame.ttl for frame in frames] for port, frames in self.came(payload).items()})
            for each, payload in zip(PROBES, second, strict=True)
        ]

    def joined(self, group: str) -> bool:
        """Whether the bridge on a0's other side knows a member there."""
        return LINK in self.bridge.ports(group)

    def told(self, port: str, since: float = 0.0) -> list[tuple[str, str, tuple[str, ...]]]:
        """What the router has reported on a port."""
        frames = self.igmp[port].select(lambda frame: frame.source == OURS[port] and frame.time >= since)
        return [(each.kind, each.group, each.sources) for frame in frames for each in told(frame)]


@pytest.fixture(scope="module")
def crossing() -> Iterator[Crossing]:
    skip_without(no_bridge())
    with ExitStack() as stack:
        made = Crossing(stack)
        made.bridge.configure(mcast_igmp_version=3, mcast_querier=1, mcast_query_interval=100,
                              mcast_query_response_interval=50, mcast_startup_query_interval=50,
                              mcast_membership_interval=800)  # fmt: skip
        yield made


def translated(text: str, **files: str) -> dict[str, Any]:
    """The tables that a file of smcroute becomes; `files` are what it includes, by name without its end."""
    found = [(Path(f"{name}.conf"), each) for name, each in files.items()]
    return smcroute.translate(text, Path("smcroute.conf"), Outside(included=lambda pattern: found)).tables


def written(tables: dict[str, Any], path: Path) -> Path:
    """Tables as TOML."""
    lines = []
    for name, value in tables.items():
        for table in value if isinstance(value, list) else [value]:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(each)}" for key, each in table.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(translated(CONF, more=MORE), tmp_path_factory.mktemp("both") / "mcfwd.toml")


@pytest.fixture(scope="module")
def mcfwd(crossing: Crossing, file: Path) -> Iterator[Mcfwd]:
    """mcfwd with what the file of smcroute becomes."""
    with Mcfwd(crossing.router, "-c", str(file)) as running:
        yield running


def rows(mcfwd: Mcfwd, interface: str) -> dict[str, tuple[str, bool, list[str]]]:
    """What `show upstream` has of an interface, by group."""
    return {
        row["group"]: (row["mode"], row["static"], row["interfaces"])
        for row in mcfwd.show("upstream") if row["interface"] == interface
    }  # fmt: skip


@contextmanager
def configured(mcfwd: Mcfwd, file: Path, change: Callable[[str], str]) -> Iterator[None]:
    """The file reads otherwise in the body, and is read again before and after."""
    before = file.read_text()
    for text in (change(before), before):
        file.write_text(text)
        assert mcfwd.request("POST", "/v1/reload", timeout=15.0) == (201, {})
        if text is not before:
            yield


def exit_code_of(crossing: Crossing, mcfwd: Mcfwd, *words: str) -> tuple[int, str]:
    """`mcfwd WORDS` as a user types it."""
    return exit_code(crossing.router, [*words, "--socket", mcfwd.socket])


# --- the same file ---


# 40 of what peers are tested with: (*,G), (S,G), networks of groups, wildcards, a rule that stops
def test_40_a_file_of_smcroute_makes_mcfwd_decide_as_it_says(crossing, mcfwd):
    assert crossing.decisions() == [(each, {port: [each.ttl - 1] for port in each.leaves}) for each in PROBES]


def test_what_is_not_forwarded_says_why(crossing, mcfwd):
    flows = {(row["upstream"], row["source"], row["group"]): row for row in mcfwd.show("flows")}
    assert flows["b0", "10.9.7.7", "239.70.0.1"]["verdict"] == "wrong_interface"
    unrouted = flows["c0", "10.0.3.11", "239.70.0.1"]
    assert unrouted["verdict"] == "wrong_interface"
    assert flows["a0", "10.0.1.11", "239.71.1.77"]["hint"].startswith("no static route names it, and a0 is both")
    assert flows["a0", "10.0.1.11", "239.75.0.9"]["hint"].startswith("blocked by the static route 239.75.0.9 from a0")


# --- what is joined ---


def test_a_kernel_that_asks_and_snoops_knows_what_is_joined(crossing, mcfwd):
    for group in ("239.70.0.1", *(f"239.70.1.{number}" for number in range(4))):
        wait_for(lambda group=group: crossing.joined(group), 10.0, f"{group} joined")
        assert rows(mcfwd, "a0")[group] == ("exclude", True, [])
    since = crossing.igmp["a0"].select(lambda frame: frame.payload[0] == 0x11)[-1].time
    crossing.igmp["a0"].wait_for(
        lambda frame: frame.time > since and any(each.kind == "IS_EX" for each in told(frame)), 10.0, "an answer"
    )
    assert crossing.told("b0") == crossing.told("c0") == []
    assert {row["name"]: row["querier"] for row in mcfwd.show("interfaces")} == {"a0": None, "b0": None, "c0": None}


# 39: what does not change by a reload loses nothing, in either direction
def test_39_routes_and_groups_come_and_go_by_reload_while_streams_both_ways_lose_nothing(crossing, mcfwd, file, stack):
    there = stack.enter_context(Receiver(crossing.hosts["b0"], "239.73.0.1"))
    back = stack.enter_context(Receiver(crossing.hosts["c0"], "239.71.0.1"))
    stack.enter_context(Sender(crossing.hosts["c0"], "239.73.0.1", rate=250))
    stack.enter_context(Sender(crossing.hosts["a0"], "239.71.0.1", rate=250, stream=1, bind="10.0.1.12"))
    for receiver in (there, back):
        receiver.wait_received(50)
    route = '[[route]]\ngroup = "239.77.0.1"\nupstream = "a0"\ninterfaces = ["c0"]\n'
    joins = '"239.70.1.9", "10.0.1.7,232.70.0.1"'
    with configured(mcfwd, file, lambda text: text.replace('"239.70.1.3"', joins) + route):
        for said in (("TO_IN", "239.70.1.3", ()), ("TO_EX", "239.70.1.9", ()), ("ALLOW", "232.70.0.1", ("10.0.1.7",))):
            wait_for(lambda said=said: said in crossing.told("a0"), 5.0, f"{said}")
        wait_for(lambda: crossing.bridge.ports("232.70.0.1").get(LINK) == {"10.0.1.7"}, 5.0, "the channel joined")
        assert rows(mcfwd, "a0")["232.70.0.1"] == ("include", True, [])
        assert crossing.joined("239.70.0.1")
        crossing.wait_leaves("a0", "239.77.0.1", "c0")
    wait_for(lambda: not crossing.joined("232.70.0.1"), 8.0, "the channel left")
    assert not [row for row in mcfwd.show("routes") if row["group"] == "239.77.0.1"]
    for receiver in (there, back):
        report = receiver.wait_received(receiver.report().total("received") + 50)
        assert (report.total("lost"), report.total("duplicated")) == (0, 0)


def test_a_group_is_joined_and_left_by_command(crossing, mcfwd):
    assert exit_code_of(crossing, mcfwd, "group", "add", "b0", "239.70.2.1") == (0, "")
    wait_for(lambda: ("TO_EX", "239.70.2.1", ()) in crossing.told("b0"), 5.0, "joined")
    assert exit_code_of(crossing, mcfwd, "group", "del", "b0", "239.70.2.1") == (0, "")
    wait_for(lambda: ("TO_IN", "239.70.2.1", ()) in crossing.told("b0"), 5.0, "left")
    code, words = exit_code_of(crossing, mcfwd, "query", "b0")
    assert (code, "b0 is both: mcfwd does not ask there" in words) == (1, True)


def test_an_agent_that_is_killed_leaves_a_successor_that_joins_and_routes_on(crossing, mcfwd):
    former = mcfwd.kill("mcfwd-agent")
    since = crossing.igmp["a0"].select()[-1].time
    mcfwd.wait_replaced("mcfwd-agent", former)
    wait_for(lambda: ("TO_EX", "239.70.0.1", ()) in crossing.told("a0", since), 10.0, "joined again")
    assert rows(mcfwd, "a0")["239.70.0.1"] == ("exclude", True, [])
    crossing.settle()


@pytest.mark.parametrize("role", ["upstream", "downstream"])      # in this order: the bridge asks until it hears us
def test_join_is_a_host_s_membership_beside_any_role(crossing, mcfwd, file, role):
    """Beside a querier of ours too: the bridge hears it answer, and nothing flows there for that."""
    since = crossing.igmp["a0"].select()[-1].time
    other = "downstream" if role == "upstream" else "both"

    def change(text: str) -> str:
        text = text.replace('name = "a0"\nrole = "both"', f'name = "a0"\nrole = "{role}"')
        return text.replace('name = "b0"\nrole = "both"', f'name = "b0"\nrole = "{other}"')

    with configured(mcfwd, file, change):
        wait_for(lambda: ("TO_EX", "239.70.1.2", ()) in crossing.told("a0", since), 10.0, "joined")
        assert rows(mcfwd, "a0")["239.70.1.2"] == ("exclude", True, [])
        wait_for(lambda: crossing.joined("239.70.1.2"), 5.0, "member known")
        payload = crossing.send("c0", NEAR["c0"], "239.70.1.2")
        crossing.settle()
        assert crossing.came(payload) == {}
        answers = [("IS_EX", "239.70.1.2", ())]
        wait_for(lambda: [each for each in crossing.told("a0", since) if each in answers], 10.0, "an answer to a query")


# --- interfaces that come and go ---


# 37: a route that names what does not exist yet; 46: what is deleted, or goes with its namespace, ends nothing
def test_37_46_a_route_waits_for_an_interface_and_outlives_it(crossing, mcfwd, file):
    text = '[[interface]]\nname = "d0"\nrole = "both"\n[[route]]\ngroup = "239.76.0.1"\ninterfaces = ["d0", "b0"]\n'

    def reaches() -> set[str]:
        payload = crossing.send("a0", NEAR["a0"], "239.76.0.1")
        crossing.settle()
        found = set(crossing.came(payload))
        return found | {"d0"} if late and late.select(lambda frame: payload in frame.payload) else found

    late: Capture | None = None
    with configured(mcfwd, file, lambda before: before + text):
        row = next(row for row in mcfwd.show("routes") if row["group"] == "239.76.0.1")
        assert (row["interfaces"], mcfwd.interface("d0")["state"]) == (["d0", "b0"], "missing")
        assert reaches() == {"b0"}
        with ExitStack() as stack:
            neighbour = host(stack, "hostd")
            cable(crossing.router, "d0", neighbour, at="10.0.4.1", to="10.0.4.11")
            late = stack.enter_context(Capture(neighbour, protocol=UDP))
            mcfwd.wait_for(lambda _: reaches() == {"b0", "d0"}, 10.0, "the route by d0")
        late = None
        mcfwd.wait_for(lambda _: mcfwd.interface("d0")["state"] == "missing", 10.0, "d0 gone with its neighbour")
        assert reaches() == {"b0"}
        assert mcfwd.process.poll() is None


# 38: an interface is deleted and made again, with another index
def test_38_an_interface_that_is_made_again_forwards_and_joins_again(crossing, mcfwd):
    before, since = links.index(crossing.router, "c0"), crossing.igmp["a0"].select()[-1].time
    links.delete(crossing.router, "c0")
    mcfwd.wait_for(lambda _: mcfwd.interface("c0")["state"] == "missing", 10.0, "c0 gone")
    payload = crossing.send("a0", NEAR["a0"], "239.70.0.1")
    crossing.data["b0"].wait_for(lambda frame: payload in frame.payload, 5.0, "what goes to b0")
    cable(crossing.router, "c0", crossing.hosts["c0"], at=OURS["c0"], to=NEAR["c0"])
    crossing.again("c0")
    crossing.wait_leaves("c0", "239.73.0.1", "a0", "b0")
    crossing.wait_leaves("a0", "239.70.0.1", "b0", "c0")
    assert links.index(crossing.router, "c0") != before
    assert not any(kind.startswith("TO_") for kind, *_ in crossing.told("a0", since + 0.001))


# --- the end ---


def test_everything_is_left_at_the_end(crossing, mcfwd):
    since = crossing.igmp["a0"].select()[-1].time
    assert mcfwd.stop() == 0
    wait_for(lambda: ("TO_IN", "239.70.0.1", ()) in crossing.told("a0", since), 5.0, "left")
    wait_for(lambda: not crossing.joined("239.70.0.1"), 5.0, "forgotten by the bridge")


def test_40_smcrouted_decides_of_the_same_packets_alike(crossing, tmp_path):
    skip_without(no_smcroute())
    (tmp_path / "more.conf").write_text(MORE)
    lines = CONF.replace("more.conf", str(tmp_path / "more.conf")).splitlines()
    with Smcroute(crossing.router, *lines, options=("-N",)):
        assert crossing.decisions() == [(each, {port: [each.ttl - 1] for port in each.leaves}) for each in PROBES]
        wait_for(lambda: crossing.joined("239.70.0.1"), 5.0, "joined by the kernel for smcrouted")
