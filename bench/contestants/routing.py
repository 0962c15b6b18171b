"""Kernel multicast routing, programmed by smcrouted or by igmpproxy."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.base import Program, missing, process
from forwarder.lab.kernel import kernel_routes
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for

KERNEL_PORTS = 31  # MAXVIFS of linux/mroute.h, less the upstream


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
        return missing("smcrouted", "smcroute")

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
        return missing("igmpproxy", "igmpproxy")

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """Ready when its interfaces are in the kernel's table."""
        lines = ["quickleave", f"phyint {lab.upstream} upstream ratelimit 0 threshold 1"]
        lines += [f"phyint {name} downstream ratelimit 0 threshold 1" for name in lab.downstreams]
        lines += ["phyint lo disabled", ""]
        with tempfile.TemporaryDirectory(prefix="igmpproxy-") as directory:
            path = Path(directory, "conf")
            path.write_text("\n".join(lines))
            with process(lab, ["igmpproxy", "-n", str(path)], Path(directory, "log")) as pid:
                wait_for(lambda: _virtual_interfaces(lab) > len(lab.downstreams), 15.0, "interfaces of igmpproxy")
                yield Program({"igmpproxy": pid})


def _virtual_interfaces(lab: Lab) -> int:
    return len(lab.router.read_proc("ip_mr_vif").splitlines()) - 1
