"""How `ring_memory` is divided among receive rings: the one place that says how large they are. Pure.

Every port has a ring for each worker, all of a size; a block of BLOCK bytes costs the same in rings of blocks
(TPACKET_V3) and of slots (TPACKET_V2). What is not lent is divided among the ports that have no ring yet (a port
that is both has its part as an upstream, since streams come in there):

1. every port the least, upstream first, then in the order of the indexes, as far as it goes;
2. kept back: the least for each port that may still come, but at most half of all memory;
3. upstream ports share the rest evenly, up to UPSTREAM blocks a ring;
4. downstream ports share what is left, up to DOWNSTREAM blocks a ring.

An interface that is named has its part whether it exists or not, so the order in which interfaces come changes
nothing. Interfaces of a wildcard are not known before: what is lent stays as it is, later ones get less.
"""

from collections.abc import Mapping

from forwarder.state.roles import is_inward

BLOCK = 128 * 1024  # bytes: that of the largest super-frame and its headers, twice
LEAST = 4  # blocks: the reader holds up to half of them while the kernel fills the others
UPSTREAM = 512  # blocks: at least 500 ms, as the kernel retires one every millisecond when little comes
DOWNSTREAM = 32  # blocks: streams rarely come in here
KEPT_BACK = 2  # at most one part in so many: a small ring for one more port is worth more than a larger one


def full(role: str) -> int:
    """Blocks of a ring where there is memory enough."""
    return UPSTREAM if is_inward(role) else DOWNSTREAM


def octets(blocks: int) -> int:
    """Bytes of so many blocks."""
    return blocks * BLOCK


def least_memory(ports: int, workers: int) -> int:
    """Bytes below which not every port has a ring."""
    return octets(ports * workers * LEAST)


def free_blocks(memory: int, lent: int, workers: int) -> int:
    """Blocks for each worker of `memory` bytes, of which `lent` blocks are lent."""
    return max(memory // BLOCK - lent, 0) // workers


def kept_back(coming: int, memory: int, workers: int) -> int:
    """Blocks for each worker that are kept back for `coming` ports that there may still be."""
    return min(coming * LEAST, free_blocks(memory, 0, workers) // KEPT_BACK)


def divide(free: int, roles: Mapping[int, str], kept: int = 0) -> dict[int, int]:
    """Blocks of each port's ring, 0 for not even the least; `roles` by port index, `free` and `kept` for a worker.

    A port that takes its part leaves the parts of the others as they were.
    """
    order = sorted(roles, key=lambda index: (not is_inward(roles[index]), index))
    parts = dict.fromkeys(order, 0)
    for index in order[: free // LEAST]:
        parts[index] = LEAST
    rest = free - sum(parts.values())
    rest -= min(kept, rest)
    for inward in (True, False):
        sharing = [index for index in order if parts[index] and is_inward(roles[index]) is inward]
        rest = _share(parts, sharing, UPSTREAM if inward else DOWNSTREAM, rest)
    return parts


def _share(parts: dict[int, int], sharing: list[int], largest: int, rest: int) -> int:
    """Raise the parts of `sharing` evenly, the first ones by what does not divide; what is left of `rest`."""
    for left, index in zip(range(len(sharing), 0, -1), sharing, strict=True):
        more = min(largest - parts[index], -(-rest // left))
        parts[index] += more
        rest -= more
    return rest


def smaller(blocks: int) -> int | None:
    """The size to try where the kernel refuses a ring of `blocks`; None when there is none."""
    return None if blocks <= LEAST else max(blocks // 2, LEAST)


def worthwhile(now: int, then: int, role: str) -> bool:
    """Whether a ring of `then` blocks is worth taking the place of one of `now`: whole at last, or twice as large."""
    return now < then and then >= min(2 * now, full(role))
