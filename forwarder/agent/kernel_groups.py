"""Which groups this host itself has joined on an interface, as /proc/net tells: for those that joined before we came.

What the kernel reports later is heard (`SharedSocket`), but its first report may be the answer to the next query, and
until then we would leave upstream what another program still wants. Every user may read these files; they are of the
network namespace of who reads them, as our sockets are. `parse` is pure.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from igmp.filter import EVERYTHING, Filter, include
from igmp.packet import is_trackable

GROUPS, SOURCES = Path("/proc/net/igmp"), Path("/proc/net/mcfilter")


def held_groups(ifindex: int) -> Mapping[int, Filter] | None:
    """What this host has joined on an interface, by group; None where it cannot be read."""
    try:
        return parse(GROUPS.read_text(errors="replace"), SOURCES.read_text(errors="replace"), ifindex)
    except OSError:
        return None


def parse(groups: str, sources: str, ifindex: int) -> dict[int, Filter]:
    """The same from the text of both files (net/ipv4/igmp.c); lines that are not as expected are passed over.

    They do not tell a group whose members all name sources from one where some member wants any. A group is taken for
    the first only if no member can be of the second kind: wanting more than is wanted takes nothing from anybody.
    """
    included = _included(sources, ifindex)
    held: dict[int, Filter] = {}
    for group, users in _joined(groups, ifindex):
        if is_trackable(group):
            counts = included.get(group, {})
            named = counts and all(counts.values()) and users <= max(counts.values())
            held[group] = include(counts) if named else EVERYTHING
    return held


def _joined(text: str, ifindex: int) -> Iterator[tuple[int, int]]:
    """Each group of an interface, and how many sockets have joined it."""
    ours = False
    for line in text.splitlines():
        fields = line.split()
        with suppress(ValueError, IndexError, OverflowError):
            if line[:1].isdigit():
                ours = int(fields[0]) == ifindex
            elif ours:                      # the address is printed as the number that its octets make here
                yield int.from_bytes(int(fields[0], 16).to_bytes(4, sys.byteorder)), int(fields[1])


def _included(text: str, ifindex: int) -> dict[int, dict[int, int]]:
    """How many sockets include each source, by group; 0 for one that some socket excludes."""
    counts: dict[int, dict[int, int]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        with suppress(ValueError, IndexError):
            if int(fields[0]) == ifindex:
                group, source, including, excluding = int(fields[2], 16), int(fields[3], 16), *map(int, fields[4:6])
                counts.setdefault(group, {})[source] = 0 if excluding else including
    return counts
