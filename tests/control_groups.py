"""Directories like those of control groups."""

from pathlib import Path

from forwarder.supervisor.memory_limit import ControlGroup

MIB = 1 << 20


def second(directory: Path, limit: str, usage: int = 0, kills: int = 0, file: int = 0) -> ControlGroup:
    """A group of version 2."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text(f"{usage}\n")
    (directory / "memory.events").write_text(f"low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\noom_group_kill 0\n")
    (directory / "memory.stat").write_text(f"anon 5\nfile 9\ninactive_file {file}\nactive_file 1\n")
    return ControlGroup(2, directory)


def first(directory: Path, limit: int, usage: int = 0, kills: int = 0, file: int = 0) -> ControlGroup:
    """A group of version 1."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (directory / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (directory / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
    (directory / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {file}\n")
    return ControlGroup(1, directory)
