"""What the agent says of each port: querier role, group count, IGMP counters, and the agent's own heartbeat.

Every value is one word. Word 0 heartbeat (monotonic ns), 1 sequence (grows when a role changes), then a block a port:
stamp (port assignment it speaks of), role (bit 40 known, bit 32 querier, low 32 bits the querier's address), IGMP
version, groups, what was heard of other queriers (`igmp.heard`, for the agent's successor alone: address, until when it
is querier, until when versions 1 and 2 are heard, in monotonic ns, then robustness and query interval in ms in the high
and low half), how many groups our own kernel holds, then the counters of `igmp.counters.COUNTERS` in order. Behind all
ports are rows of `older_hosts`.

Most words stand for themselves. A role belongs to the stamp beside it: a block is emptied before it gets its new stamp,
and a reader looks at the stamp before and after the role. `sequence` grows after the role, so who reads the roles
after it misses none (see `segment` for the fences).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forwarder.state import fence, older_hosts, segment
from forwarder.state.older_hosts import OlderHostRows
from igmp.counters import COUNTERS
from igmp.heard import Heard

HEADER = 8
HEARTBEAT, SEQUENCE = 0, 1
STAMP, ROLE, VERSION, GROUPS, HEARD, HELD, FIRST_COUNTER = 0, 1, 2, 3, 4, 9, 10
BLOCK = FIRST_COUNTER + len(COUNTERS)
KNOWN, QUERIER = 1 << 40, 1 << 32
_COLUMN = {name: FIRST_COUNTER + at for at, name in enumerate(COUNTERS)}


@dataclass(frozen=True, slots=True)
class PortMembership:
    """One port's row; `querier` is None on upstream ports and before the agent spoke."""

    stamp: int
    querier: bool | None
    querier_address: int
    igmp_version: int
    groups: int
    counters: dict[str, int]
    held: int = 0           # groups that our own kernel holds there


def create(max_ports: int) -> int:
    """A new segment for `max_ports` ports."""
    return segment.create("mcfwd-membership", HEADER + max_ports * BLOCK + older_hosts.WORDS)


class MembershipWriter:
    """The agent's side."""

    def __init__(self, fd: int) -> None:
        self._segment = segment.Segment(fd, writable=True)
        words = self._segment.words
        self.older = OlderHostRows(words[len(words) - older_hosts.WORDS :])

    def beat(self, now_ns: int) -> None:
        """I live."""
        self._segment.words[HEARTBEAT] = now_ns

    def assign(self, port: int, stamp: int) -> None:
        """Start over for a port whose index has a new owner; keeps everything when it has not."""
        words, at = self._segment.words, HEADER + port * BLOCK
        if words[at + STAMP] == stamp:
            return
        for offset in range(at, at + BLOCK):
            words[offset] = 0
        self.older.drop(port)
        fence.release()
        words[at + STAMP] = stamp
        fence.release()

    def role(self, port: int, querier: bool, address: int) -> None:
        """Set who asks on this port: us or the querier at `address`."""
        words, at = self._segment.words, HEADER + port * BLOCK
        words[at + ROLE] = KNOWN | (QUERIER if querier else 0) | address
        fence.release()
        words[SEQUENCE] += 1

    def version(self, port: int, version: int) -> None:
        """Set the IGMP version spoken on this port."""
        self._segment.words[HEADER + port * BLOCK + VERSION] = version

    def groups(self, port: int, count: int, held: int = 0) -> None:
        """Set how many groups this port has, and our own kernel there."""
        at = HEADER + port * BLOCK
        self._segment.words[at + GROUPS], self._segment.words[at + HELD] = count, held

    def counters(self, port: int, counters: Mapping[str, int]) -> None:
        """Set the counters named in `counters`."""
        at = HEADER + port * BLOCK
        for name, value in counters.items():
            self._segment.words[at + _COLUMN[name]] = value

    def heard(self, port: int, heard: Heard) -> None:
        """Set what was heard of other queriers."""
        at = HEADER + port * BLOCK + HEARD
        moments = [int(each * 1e9) for each in (heard.until, heard.v1_until, heard.v2_until)]
        values = heard.querier, *moments, heard.robustness << 32 | int(heard.interval * 1000)
        for offset, value in enumerate(values):
            self._segment.words[at + offset] = value

    def read_heard(self, port: int) -> Heard:
        """What was heard of other queriers, for a successor to go on with."""
        at = HEADER + port * BLOCK + HEARD
        querier, until, v1, v2, told = self._segment.words[at : at + HELD - HEARD]
        return Heard(querier, until / 1e9, v1 / 1e9, v2 / 1e9, told >> 32, (told & 0xFFFF_FFFF) / 1000)

    def read_counters(self, port: int) -> dict[str, int]:
        """The counters as they stand, for a successor to count on from."""
        return _counters(self._segment.words, HEADER + port * BLOCK)


class MembershipReader:
    """A worker's or the API's side."""

    def __init__(self, fd: int) -> None:
        self._segment = segment.Segment(fd)

    @property
    def heartbeat(self) -> float:
        """When the agent last lived, monotonic seconds."""
        return self._segment.words[HEARTBEAT] / 1e9

    @property
    def sequence(self) -> int:
        """Grows whenever a role changes; roles read after it are no older."""
        sequence = self._segment.words[SEQUENCE]
        fence.acquire()
        return sequence

    def querier(self, port: int, assigned: int) -> bool:
        """Whether we are querier on a port whose index was assigned at `assigned`."""
        words, at = self._segment.words, HEADER + port * BLOCK
        if words[at + STAMP] != assigned:
            return False
        fence.acquire()
        role = words[at + ROLE]
        fence.acquire()
        return bool(role & QUERIER) and words[at + STAMP] == assigned

    def port(self, port: int) -> PortMembership:
        """All that the agent says of a port."""
        words, at = self._segment.words, HEADER + port * BLOCK
        role = words[at + ROLE]
        return PortMembership(
            stamp=words[at + STAMP],
            querier=bool(role & QUERIER) if role & KNOWN else None,
            querier_address=role & 0xFFFF_FFFF,
            igmp_version=words[at + VERSION],
            groups=words[at + GROUPS],
            counters=_counters(words, at),
            held=words[at + HELD],
        )


def _counters(words: memoryview, at: int) -> dict[str, int]:
    return {name: words[at + column] for name, column in _COLUMN.items()}
