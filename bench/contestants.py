"""What is compared: forwarders that run in the router of a lab of their own, with the same source and receivers.

Built in are mcfwd in each profile, kernel multicast routing programmed by smcrouted, and igmpproxy; any other is a
command (`Command`). A contestant that cannot take part says why (`obstacle`) and its rows are left out with that.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from forwarder.lab.kernel import kernel_routes
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for

KERNEL_PORTS = 31  # MAXVIFS of linux/mroute.h, less the upstream
MANY = 4000  # groups beyond which mcfwd's limit per port is raised
PATH = "/usr/sbin:/sbin"


class Running(Protocol):
    """A contestant at work."""

    def drops(self) -> Counter[str]:
        """What it says it has dropped so far, by reason."""

    def pids(self) -> dict[str, int]:
        """Its processes by name; none when the kernel does the work."""


class Contestant(Protocol):
    """A forwarder that can be started."""

    @property
    def name(self) -> str:
        """As in `--against` and in results."""

    @property
    def exclusive(self) -> bool:
        """Whether it costs CPU even when nothing flows, so that no other may be measured beside it."""

    @property
    def speaks_igmp(self) -> bool:
        """Whether joins and leaves change what it forwards."""

    def obstacle(self, ports: int, groups: int) -> str:
        """Why it cannot take part; empty when it can."""

    def start(self, lab: Lab, groups: Sequence[str]) -> AbstractContextManager[Running]:
        """It runs while the context lasts, ready to forward `groups` to every downstream link that wants them."""


@dataclass(frozen=True)
class Program:
    """A process that says nothing about drops."""

    processes: Mapping[str, int] = field(default_factory=dict)

    def drops(self) -> Counter[str]:
        """None known."""
        return Counter()

    def pids(self) -> dict[str, int]:
        """As it was started."""
        return dict(self.processes)


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
        ports = [f"max_ports = {len(downstreams) + 1}"] if len(downstreams) > 63 else []
        return "\n".join([*words, "[dataplane]", *ports, *self.dataplane, ""])

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


@dataclass(frozen=True)
class Kernel:
    """Kernel multicast routing with a static route for every group."""

    name: str = "kernel"
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """At most 32 interfaces; smcrouted sets the routes."""
        if ports > KERNEL_PORTS:
            return f"kernel multicast routing knows {KERNEL_PORTS + 1} interfaces"
        return "" if _which("smcrouted") else "smcrouted (package smcroute) is not installed"

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """Routes are in the kernel before it begins."""
        with kernel_routes(lab, groups, timeout=10.0 + len(groups) / 100):
            yield Program()


@dataclass(frozen=True)
class Igmpproxy:
    """igmpproxy with its defaults and quickleave; the kernel forwards what it installs."""

    name: str = "igmpproxy"
    exclusive: bool = False
    speaks_igmp: bool = True

    def obstacle(self, ports: int, groups: int) -> str:
        """It routes by the kernel."""
        if ports > KERNEL_PORTS:
            return f"kernel multicast routing knows {KERNEL_PORTS + 1} interfaces"
        return "" if _which("igmpproxy") else "igmpproxy is not installed"

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """Ready when its interfaces are in the kernel's table."""
        lines = ["quickleave", f"phyint {lab.upstream} upstream ratelimit 0 threshold 1"]
        lines += [f"phyint {name} downstream ratelimit 0 threshold 1" for name in lab.downstreams]
        lines += ["phyint lo disabled", ""]
        with tempfile.TemporaryDirectory(prefix="igmpproxy-") as directory:
            path = Path(directory, "conf")
            path.write_text("\n".join(lines))
            with _process(lab, ["igmpproxy", "-n", str(path)], Path(directory, "log")) as pid:
                wait_for(lambda: _virtual_interfaces(lab) > len(lab.downstreams), 15.0, "interfaces of igmpproxy")
                yield Program({"igmpproxy": pid})


@dataclass(frozen=True)
class Command:
    """Any program: `{upstream}` and `{downstreams}` (separated by commas) are replaced in its command line.

    It runs in the router's namespace, and is taken as ready when the receivers' first datagrams come through.
    """

    name: str
    command: str
    exclusive: bool = True
    speaks_igmp: bool = True

    def obstacle(self, ports: int, groups: int) -> str:
        """Only that it is not there."""
        program = shlex.split(self.command)[0]
        return "" if _which(program) else f"there is no program {program}"

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """The command with the lab's interfaces."""
        places = {"upstream": lab.upstream, "downstreams": ",".join(lab.downstreams)}
        argv = [word.format(**places) for word in shlex.split(self.command)]
        with tempfile.TemporaryDirectory() as directory, _process(lab, argv, Path(directory, "log")) as pid:
            yield Program({self.name: pid})


@contextmanager
def _process(lab: Lab, argv: Sequence[str], log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        process = lab.router.popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    except BaseException as error:
        error.add_note(f"{argv[0]}'s log:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _virtual_interfaces(lab: Lab) -> int:
    return len(lab.router.read_proc("ip_mr_vif").splitlines()) - 1


def _which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=PATH)


BUILT_IN: tuple[Contestant, ...] = (
    McfwdContestant(),
    McfwdContestant("mcfwd-throughput", ('profile = "throughput"',)),
    McfwdContestant("mcfwd-latency", ('profile = "latency"',)),
    McfwdContestant("mcfwd-busy", ('profile = "latency"', "busy_poll = true"), exclusive=True),
    McfwdContestant("mcfwd-workers-2", ("workers = 2",)),
    Kernel(),
    Igmpproxy(),
)


def select(against: Sequence[str], commands: Sequence[str]) -> dict[str, Contestant]:
    """mcfwd in all its profiles, those named in `against`, and NAME=COMMAND; ValueError for unknown names."""
    known = {each.name: each for each in BUILT_IN}
    unknown = [name for name in against if name not in known]
    if unknown:
        raise ValueError(f"no contestant {', '.join(unknown)}; there are {', '.join(known)}")
    others = [Command(name, command) for name, _, command in (word.partition("=") for word in commands)]
    chosen = [each for each in BUILT_IN if each.name.startswith("mcfwd") or each.name in against]
    return {each.name: each for each in [*chosen, *others]}
