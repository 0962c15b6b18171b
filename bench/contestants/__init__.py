"""What is compared: forwarders that run in the router of a lab of their own, with the same source and receivers.

Built in are mcfwd in each profile, the kernel's multicast routing programmed by smcrouted or igmpproxy, what else the
kernel copies frames with, and the C program that does the same as mcfwd and nothing else; any other is a command. A
contestant that cannot take part says why (`obstacle`) and its rows are left out with that.
"""

from collections.abc import Sequence

from bench.contestants.base import Contestant, Nothing, Program, Running
from bench.contestants.command import Command
from bench.contestants.copying import Bridge, Mirred, Nft
from bench.contestants.gathering import Gathering
from bench.contestants.limit import Limit
from bench.contestants.mcfwd import McfwdContestant
from bench.contestants.routing import Igmpproxy, Kernel

__all__ = [
    "BUILT_IN",
    "Bridge",
    "Contestant",
    "Igmpproxy",
    "Kernel",
    "Limit",
    "McfwdContestant",
    "Nothing",
    "Program",
    "Running",
    "select",
]

COPYING: tuple[Contestant, ...] = (Bridge(), Bridge("bridge-flooding", snooping=False), Mirred(), Nft())
GATHERING: tuple[Contestant, ...] = (McfwdContestant(), Kernel(), *COPYING)
BUILT_IN: tuple[Contestant, ...] = (
    McfwdContestant(),
    McfwdContestant("mcfwd-throughput", ('profile = "throughput"',)),
    McfwdContestant("mcfwd-latency", ('profile = "latency"',)),
    McfwdContestant("mcfwd-busy", ('profile = "latency"', "busy_poll = true"), exclusive=True),
    McfwdContestant("mcfwd-workers-2", ("workers = 2",)),
    Limit(),
    Kernel(),
    Igmpproxy(),
    *COPYING,
    *map(Gathering, GATHERING),
)


def select(against: Sequence[str], commands: Sequence[str]) -> dict[str, Contestant]:
    """Whoever is built in, and NAME=COMMAND; ValueError for a name in `against` that is neither."""
    others = [Command(name, command) for name, _, command in (word.partition("=") for word in commands)]
    known = {each.name: each for each in (*BUILT_IN, *others)}
    unknown = [name for name in against if name not in known]
    if unknown:
        raise ValueError(f"no contestant {', '.join(unknown)}; there are {', '.join(known)}")
    return known
