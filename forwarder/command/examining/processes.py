"""Programs that route multicast in this network namespace, by /proc: their names are what they call themselves."""

import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from forwarder.command.examining.files import text
from forwarder.diagnosis.doctor.facts import Daemon

PROC = Path("/proc")
MOST = 32_768           # processes that are looked at: 20 µs each
DAEMONS = frozenset((
    "igmpproxy", "igmpv3proxy", "smcrouted", "mcproxy", "mcproxy-bin", "pimd", "mrouted", "omcproxy", "dvmrpd",
    "xorp_pimsm4", "xorp_igmp", "xorp_mfea", "bird-mcast", "upnpd-igmp", "mcastrouted",
))  # fmt: skip
"""As the kernel has them (comm, 15 octets); FRR's is pimd too."""
AGENT = "mcfwd-agent"


def routing(ours: Collection[int], proc: Path = PROC) -> tuple[tuple[Daemon, ...], tuple[int, ...]]:
    """Other programs that route multicast, and supervisors of other instances than the one with processes `ours`."""
    daemons, forwarders = [], []
    here = _namespace(proc / "self")
    for pid in islice(_pids(proc), MOST):
        name = text(proc / str(pid) / "comm", 64).rstrip("\n")
        if name in DAEMONS or name == AGENT:
            if _namespace(proc / str(pid)) not in (here, None):
                continue
            if name in DAEMONS:
                daemons.append(Daemon(pid, name))
            elif pid not in ours and (parent := _parent(proc / str(pid))):
                forwarders.append(parent)
    return tuple(daemons), tuple(dict.fromkeys(forwarders))


def _pids(proc: Path) -> list[int]:
    try:
        with os.scandir(proc) as found:
            return sorted(int(each.name) for each in found if each.name.isascii() and each.name.isdigit())
    except OSError:
        return []


def _namespace(process: Path) -> str | None:
    """Which network namespace; None where that is not for us to know."""
    try:
        return os.readlink(process / "ns" / "net")
    except OSError:
        return None


def _parent(process: Path) -> int | None:
    """None for one that has ended, or whose parent is not of this PID namespace."""
    rows = (line.split() for line in text(process / "status", 4096).splitlines())
    said = next((row[1] for row in rows if len(row) > 1 and row[0] == "PPid:"), "0")
    return int(said) or None if said.isdigit() else None
