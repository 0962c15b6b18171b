"""Programs of this host, which packet sockets neither hear nor reach. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, LocalReceiver, ProgramFacts
from forwarder.diagnosis.doctor.finding import NOTE, WARNING, Finding, Kind, command, in_turn
from forwarder.units import count, listed

RECEIVER = Kind("local receiver", WARNING)
SENDER = Kind("local sender", WARNING)
REVERSE_PATH = Kind("strict reverse path", NOTE)

STRICT, LOOSE = 1, 2    # Documentation/networking/ip-sysctl.rst
RUN = "then run mcfwd with -d {} too, and have programs use {} (docs/operating.md)"


def findings(facts: Facts) -> Iterator[Finding]:
    """Receivers downstream, an interface each; upstream they are served by the link itself. Senders anywhere."""
    programs, roles = facts.programs, {each.name: each for each in facts.interfaces}
    for name, joined in _by_interface(programs).items():
        interface = roles.get(name)
        if interface is None:
            continue
        if interface.role == "downstream":
            yield _received(name, joined, facts)
        if interface.reverse_path == STRICT and programs.default != name:
            yield REVERSE_PATH.mended(
                name, f"{name} takes only sources to which a route leads by it (rp_filter): programs of this host that"
                " have joined there get no others, though mcfwd forwards them",
                command("sysctl", "-w", f"net/ipv4/conf/{name}/rp_filter={LOOSE}"),
            )  # fmt: skip
    for name in dict.fromkeys(each.interface for each in programs.senders if each.interface in roles):
        groups = [f"{each.group}:{each.port}" for each in programs.senders if each.interface == name]
        words = f"a program of this host sends {listed(groups)} from the address of {name}: mcfwd does not hear it"
        yield _moved(SENDER, name, words, facts)


def _by_interface(programs: ProgramFacts) -> dict[str, list[LocalReceiver]]:
    found: dict[str, list[LocalReceiver]] = {}
    for each in programs.receivers:
        found.setdefault(each.interface, []).append(each)
    return found


def _received(name: str, joined: list[LocalReceiver], facts: Facts) -> Finding:
    groups = listed([each.group for each in joined])
    bound = sorted({port for each in joined for port in each.ports})
    sockets = f" (UDP port {listed(list(map(str, bound)))})" if bound else ""
    many = f"{count(len(joined))} groups, {groups}," if len(joined) > 1 else groups
    words = (f"a program of this host has joined {many}{sockets} on {name}: it gets what hosts on that link send, not"
             " what mcfwd forwards there")  # fmt: skip
    return _moved(RECEIVER, name, words, facts)


def _moved(kind: Kind, name: str, words: str, facts: Facts) -> Finding:
    """To the pair of veth interfaces that there is, or by the recipe of docs/operating.md."""
    pairs = [(each.name, each.peer) for each in facts.interfaces if each.peer and each.role == "downstream"]
    if pairs:
        return kind.found(name, words, f"have it use {pairs[0][1]}, the other end of {pairs[0][0]}, in place of {name}")
    ours, theirs, address = facts.programs.free
    return kind.mended(name, words, recipe(ours, theirs, address), RUN.format(ours, theirs))


def recipe(ours: str, theirs: str, address: str) -> str:
    """A pair of veth interfaces with mcfwd at one end and programs of the host at the other."""
    return in_turn(
        command("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs),
        command("ip", "address", "add", address, "dev", theirs),
        command("sysctl", "-qw", f"net/ipv4/conf/{theirs}/rp_filter={LOOSE}"),
        command("ip", "link", "set", "dev", ours, "up"),
        command("ip", "link", "set", "dev", theirs, "up"),
        command("ip", "route", "add", "224.0.0.0/4", "dev", theirs),
    )
