"""How much memory we and our children may have: the limits of control groups (cgroups(7)), of version 1 and 2.

Charged is what our processes have of their own, shared memory, and the kernel's memory for them; pages of files too,
but those are given up first. Receive rings are not charged. A group that cannot be read is none.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

UNLIMITED = 1 << 60     # octets; version 1 has no word for it, but the largest number of pages


class Files(NamedTuple):
    """The files of a version: the limit, what is charged, where kills are counted, and the part given up first."""

    limit: str
    usage: str
    kills: str
    files: str


FILES = {
    1: Files("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control", "total_inactive_file"),
    2: Files("memory.max", "memory.current", "memory.events", "inactive_file"),
}


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A directory of a control group that may limit memory."""

    version: int
    directory: Path

    @property
    def limit(self) -> int | None:
        """Octets; None where there is none."""
        octets = _number(_text(self.directory / FILES[self.version].limit))
        return octets if octets is not None and octets < UNLIMITED else None

    @property
    def room(self) -> int | None:
        """Octets until the limit is reached, beside what is given up before; None where there is no limit."""
        if (limit := self.limit) is None:
            return None
        names = FILES[self.version]
        usage = _number(_text(self.directory / names.usage))
        return None if usage is None else limit - usage + _counter(_text(self.directory / "memory.stat"), names.files)

    @property
    def kills(self) -> int:
        """How many processes of it were killed for want of memory."""
        return _counter(_text(self.directory / FILES[self.version].kills), "oom_kill")


def groups(process: Path = Path("/proc/self")) -> list[ControlGroup]:
    """The groups of a process that may limit its memory: its own first, then those above, as far as we see them."""
    found = []
    for version, path in _memberships(_text(process / "cgroup").splitlines()):
        for root, mount in _mounts(_text(process / "mountinfo").splitlines(), version):
            with suppress(ValueError):      # not below what is mounted here
                inside = PurePosixPath(path).relative_to(root)
                found += [ControlGroup(version, mount / part) for part in (inside, *inside.parents)]
                break
    return [group for group in found if any(_text(group.directory / name) for name in FILES[group.version][:2])]


class MemoryLimit:
    """The limits that hold for us; `of`: the groups, our own first."""

    def __init__(self, of: Iterable[ControlGroup] | None = None) -> None:
        self._groups = groups() if of is None else list(of)
        self._kills = self._count()

    @property
    def room(self) -> int | None:
        """Octets that may still be charged, by the group that has the least; None without a limit."""
        return min((room for group in self._groups if (room := group.room) is not None), default=None)

    @property
    def smallest(self) -> int | None:
        """Octets of the smallest limit; None without one."""
        return min((limit for group in self._groups if (limit := group.limit) is not None), default=None)

    def has_killed(self) -> bool:
        """Whether somebody was killed for want of memory since this was asked last."""
        before, self._kills = self._kills, self._count()
        return self._kills > before

    def _count(self) -> int:
        """Version 1 counts a kill in the group of who is killed, version 2 in those above too."""
        return self._groups[0].kills if self._groups else 0


def _memberships(lines: Iterable[str]) -> list[tuple[int, str]]:
    """(Version, path) of each line of /proc/PID/cgroup that is about memory; that of version 1 wins."""
    rows = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    first = [(1, path) for _, controllers, path in rows if "memory" in controllers.split(",")]
    return first or [(2, path) for number, controllers, path in rows if (number, controllers) == ("0", "")]


def _mounts(lines: Iterable[str], version: int) -> list[tuple[str, Path]]:
    """What of the hierarchy is mounted where, by lines of /proc/PID/mountinfo (proc(5))."""
    found = []
    for line in lines:
        left, _, right = line.partition(" - ")
        words, (kind, *rest) = left.split(), right.split() or [""]
        ours = kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in (rest or [""])[-1].split(",")
        if ours and len(words) > 4:
            found.append((words[3], Path(words[4])))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> int | None:
    words = text.split()
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() else None


def _counter(text: str, name: str) -> int:
    """The number behind a name, in lines of both; 0 where there is none."""
    rows = (line.split() for line in text.splitlines())
    return next((_number(row[1]) or 0 for row in rows if len(row) > 1 and row[0] == name), 0)
