"""Who else forwards multicast on this machine. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts
from forwarder.diagnosis.doctor.finding import NOTE, WARNING, Finding, Kind, command
from forwarder.units import listed

DAEMON = Kind("multicast routing daemon", WARNING)
KERNEL = Kind("kernel multicast routing", WARNING)
ELSEWHERE = Kind("kernel multicast routing elsewhere", NOTE)
ANOTHER = Kind("another instance", WARNING)

ROUTING, TWIN = "kernel routing", "another instance"
"""What a doubt of forwarder/supervisor/doubts.py is about."""
STOP = "and keep it from being started again (systemctl disable --now {})"


def findings(facts: Facts) -> Iterator[Finding]:
    """Words about our own interfaces are those of `mcfwd check`."""
    others, doubted = facts.others, {each.about: each.words for each in facts.doubted}
    for daemon in others.daemons:
        yield DAEMON.mended(
            daemon.name, f"{daemon.name} routes multicast here too (process {daemon.pid}): what both forward arrives"
            " twice, and both answer on the same links",
            command("kill", str(daemon.pid)), STOP.format(daemon.name),
        )  # fmt: skip
    culprits = [str(each.pid) for each in others.daemons]
    if words := doubted.get(ROUTING):
        yield _stopped(KERNEL, "kernel", words, culprits, "stop the program that has switched it on")
    elif others.routed:
        words = f"the kernel routes multicast on {listed(others.routed)} ({others.entries} entries), none of them ours"
        yield _stopped(ELSEWHERE, "kernel", words, culprits, "nothing to do, unless both lead to the same receivers")
    if words := doubted.get(TWIN):
        yield _stopped(ANOTHER, "mcfwd", words, list(map(str, others.forwarders)), "stop one of them")


def _stopped(kind: Kind, subject: str, words: str, culprits: list[str], otherwise: str) -> Finding:
    """The command that ends who does it, where that is known."""
    if culprits:
        return kind.mended(subject, words, command("kill", *culprits))
    return kind.found(subject, words, otherwise)
