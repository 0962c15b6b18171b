"""igmpproxy in a namespace: the kernel speaks for it upstream, it queries downstream with IGMPv2.

Its times are compiled in: it queries once when it starts, then after 31 s and every 125 s, and allows 10 s to answer.
"""

from collections.abc import Sequence

from bench.peers import daemon
from bench.peers.daemon import Daemon
from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for

EVERY_SOURCE = "0.0.0.0/0"


def obstacle() -> str:
    """Why igmpproxy cannot run here; empty when it can."""
    return daemon.missing("igmpproxy", "igmpproxy")


class Igmpproxy(Daemon):
    """igmpproxy between `upstream` and `downstreams`; it takes data of any source."""

    def __init__(
        self, namespace: Namespace, upstream: str = "up0", downstreams: Sequence[str] = ("down0",), *,
        quick_leave: bool = True, text: str = "",
    ) -> None:
        """`text` is its file where it is not to be made of these roles."""
        super().__init__(namespace, "igmpproxy")
        roles = {upstream: "upstream", **dict.fromkeys(downstreams, "downstream")}
        lines = ["quickleave"] * quick_leave + ["phyint lo disabled"]
        lines += [f"phyint {name} {role} ratelimit 0 threshold 1 altnet {EVERY_SOURCE}" for name, role in roles.items()]
        self._configuration = self.directory / "igmpproxy.conf"
        self._configuration.write_text(text or "\n".join(lines) + "\n")
        self._interfaces = len(roles)

    def start(self) -> None:
        """Ready when the kernel routes for it on every interface; by then it has queried."""
        self._launch(["igmpproxy", "-d", "-v", "-v", str(self._configuration)])
        wait_for(self._routes, 10.0, "virtual interfaces of igmpproxy")

    def _routes(self) -> bool:
        rows = self.namespace.read_proc("ip_mr_vif").splitlines()[1:]
        return self._running() and len(rows) == self._interfaces
