"""What the kernel's own multicast routing does with a group, as /proc/net tells: another forwarder beside us.

Every user may read these files; they are of our network namespace. `parse` is pure.
"""

import sys
from contextlib import suppress
from pathlib import Path

VIFS, CACHE = Path("/proc/net/ip_mr_vif"), Path("/proc/net/ip_mr_cache")
MOST = 1 << 20          # octets of a file that are read: some 15,000 routes


def forwarded(group: int) -> str | None:
    """What it forwards of a group, in words; None: nothing, or the kernel does not say."""
    try:
        return parse(_beginning(VIFS), _beginning(CACHE), group)
    except OSError:     # a kernel without multicast routing has no such file
        return None


def parse(vifs: str, cache: str, group: int) -> str | None:
    """The same from the text of both files (net/ipv4/ipmr.c); lines that are not as expected are passed over."""
    names = {fields[0]: fields[1] for line in vifs.splitlines()[1:] if len(fields := line.split()) > 1}
    # addresses are printed as the number that their octets make here
    wanted = int.from_bytes(group.to_bytes(4), sys.byteorder)
    for line in cache.splitlines()[1:]:
        fields = line.split()
        with suppress(ValueError, IndexError):
            if int(fields[0], 16) == wanted and (outputs := fields[6:]):
                to = [names.get(each.partition(":")[0], "?") for each in outputs[:8]]
                return f"the kernel forwards it too, from {names.get(fields[2], '?')} to {', '.join(to)} (ip mroute)"
    return None


def _beginning(path: Path) -> str:
    with path.open(errors="backslashreplace") as file:
        return file.read(MOST)
