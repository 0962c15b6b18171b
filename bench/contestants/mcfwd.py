"""mcfwd in a profile, as an ordinary user with CAP_NET_RAW."""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import Lab

MANY = 4000  # groups beyond which mcfwd's limit per port is raised


@dataclass(frozen=True)
class RunningMcfwd:
    """mcfwd, which counts every drop with a reason."""

    mcfwd: Mcfwd

    def drops(self) -> Counter[str]:
        """All interfaces together."""
        counted = Counter[str]()
        for row in self.mcfwd.show("interfaces"):
            counted.update(row["drops"])
        return counted

    def pids(self) -> dict[str, int]:
        """Its processes, as `show stats` names them, and the supervisor."""
        return {"mcfwd": self.mcfwd.process.pid} | self.mcfwd.pids


@dataclass(frozen=True)
class McfwdContestant:
    """mcfwd with the given lines in its table [dataplane]."""

    name: str = "mcfwd"
    dataplane: tuple[str, ...] = ()
    exclusive: bool = False
    speaks_igmp: bool = True

    def obstacle(self, ports: int, groups: int) -> str:
        """What `mcfwd check` says against the configuration."""
        return self._refusal

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[RunningMcfwd]:
        """With CAP_NET_RAW and nothing else, from a configuration file."""
        with tempfile.TemporaryDirectory(prefix="mcfwd-bench-") as directory:
            path = Path(directory, "mcfwd.toml")
            path.write_text(self.configuration(lab.upstream, lab.downstreams, len(groups)))
            path.parent.chmod(0o755)  # it runs as an ordinary user
            arguments = ("-c", str(path))
            with Mcfwd(lab.router, *arguments, unprivileged=True, log_level="warning", timeout=60.0) as mcfwd:
                yield RunningMcfwd(mcfwd)

    def configuration(self, upstream: str, downstreams: Sequence[str], groups: int) -> str:
        """The TOML."""
        limit = [f"max_groups = {groups + 100}"] if groups > MANY else []
        words = ["[[interface]]", f'name = "{upstream}"', 'role = "upstream"', *limit]
        for name in downstreams:
            words += ["[[interface]]", f'name = "{name}"', 'role = "downstream"', *limit]
        return "\n".join([*words, "[dataplane]", *self.dataplane, ""])

    @cached_property
    def _refusal(self) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(self.configuration("up0", ["down0"], 0))
            file.flush()
            argv = [sys.executable, "-m", "forwarder", "check", file.name]
            answer = subprocess.run(argv, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return ""
        words = (answer.stderr or answer.stdout).strip().splitlines() or [str(answer.returncode)]
        return f"this mcfwd refuses {', '.join(self.dataplane)}: {words[-1].rpartition('.toml: ')[2]}"
