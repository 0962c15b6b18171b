"""Routes that smcroute.conf becomes decide as smcrouted does, which goes through its lines: over any lines."""

from dataclasses import dataclass
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from forwarder.agent.static import static_rows
from forwarder.config.formats import smcroute
from forwarder.config.formats.translation import Outside
from forwarder.dataplane.admission import PortPolicy
from forwarder.dataplane.fib import Fib
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings, RouteSettings
from igmp.link import Network, parse_address

NAMES = ("a0", "a1", "b0")
GROUPS = ("239.0.0.0/8", "239.1.0.0/16", "239.1.1.0/24", "239.1.1.1/32", "239.1.1.2/32", "239.2.0.0/16")
SOURCES = ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32")
PACKETS = [
    (at, parse_address(source), parse_address(group))
    for at in range(3) for source in ("10.1.1.1", "10.1.2.2", "10.2.2.2", "11.1.1.1")
    for group in ("239.1.1.1", "239.1.1.2", "239.1.1.3", "239.1.2.1", "239.2.1.1", "239.3.1.1")
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line for one interface, as smcrouted has it after it has looked which ones there are."""

    ingress: int
    source: Network
    group: Network
    out: frozenset[int]

    @property
    def single(self) -> bool:
        return (self.source.prefix, self.group.prefix) == (32, 32)

    def has(self, source: int, group: int) -> bool:
        return self.source.contains(source) and self.group.contains(group)

    def crosses(self, other: "Line") -> bool:
        """Whether each of the two has a part that the other one has not, and a common one."""
        common = self.source.prefix - other.source.prefix, self.group.prefix - other.group.prefix
        longer, shorter = (self, other) if common[0] > 0 else (other, self)
        overlap = shorter.source.contains(longer.source.address) and (
            shorter.group.contains(longer.group.address) or longer.group.contains(shorter.group.address)
        )
        return self.ingress == other.ingress and overlap and common[0] * common[1] < 0


def decided(lines: list[Line], ingress: int, source: int, group: int) -> set[int] | None:
    """By which ports a datagram leaves; None where the kernel takes its flow from another interface."""
    single = [line for line in lines if line.single and line.has(source, group)]
    if single:
        last = single[-1].ingress
        return None if last != ingress else set().union(*(line.out for line in single if line.ingress == last)) - {last}
    found = [line for line in lines if not line.single and line.ingress == ingress and line.has(source, group)]
    alike = [line for line in found if (line.source, line.group) == (found[0].source, found[0].group)]
    return set().union(*(line.out for line in alike)) - {ingress}


def fib_of(text: str) -> Fib:
    tables = smcroute.translate(text, Path("smcroute.conf"), Outside()).tables
    ports = [Port(at, 1, name, "both", InterfaceSettings(name=name, role="both")) for at, name in enumerate(NAMES)]
    fib = Fib()
    fib.set_ports([PortPolicy(at, "both") for at in range(3)])
    routes = [RouteSettings(**{**row, "interfaces": tuple(row["interfaces"])}) for row in tables.get("route", ())]
    for key, row in static_rows(routes, ports).items():
        fib.set_route(key.group, key.plen, key.source, key.slen, key.ingress, row.ports, "static")
    return fib


WAYS = st.sampled_from([*NAMES, "a+"])
STATEMENTS = st.lists(
    st.tuples(WAYS, st.sampled_from(SOURCES), st.sampled_from(GROUPS), st.lists(WAYS, max_size=2, unique=True)),
    min_size=1, max_size=7,
)  # fmt: skip


def meant(name: str) -> list[int]:
    return [at for at, each in enumerate(NAMES) if each == name or (name == "a+" and each[0] == "a")]


@given(STATEMENTS)
def test_routes_decide_as_lines_in_their_order(statements):
    text, lines = "", []
    for ingress, source, group, ways in statements:
        text += f"mroute from {ingress} source {source} group {group} to {' '.join(ways)}\n"
        out = frozenset(at for name in ways for at in meant(name))
        lines += [Line(at, Network.parse(source), Network.parse(group), out) for at in meant(ingress)]
    assume(not any(line.crosses(other) for line in lines if not line.single for other in lines if not other.single))
    assume(not any(line.single and name == "a+" for (name, *_), line in zip(statements, lines, strict=False)))
    assume("a+" not in [name for name, source, *_ in statements if source.endswith("/32")])
    fib = fib_of(text)
    for ingress, source, group in PACKETS:
        expected = decided(lines, ingress, source, group)
        if expected is not None:
            leaves = fib.decide(ingress, source, group).ports
            assert {at for at in range(3) if leaves >> at & 1} == expected, (text, ingress, source, group)
