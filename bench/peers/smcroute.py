"""smcrouted in a namespace: static joins, for which the kernel speaks, and static multicast routes."""

from bench.peers import daemon
from bench.peers.daemon import Daemon
from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for


def obstacle() -> str:
    """Why smcroute cannot run here; empty when it can."""
    return daemon.missing("smcrouted", "smcroute") or daemon.missing("smcroutectl", "smcroute")


class Smcroute(Daemon):
    """smcrouted with the lines of smcroute.conf(5) given, changed by `control` while it runs."""

    def __init__(self, namespace: Namespace, *lines: str, options: tuple[str, ...] = ()) -> None:
        super().__init__(namespace, "smcroute")
        self._configuration = self.directory / "conf"
        self._configuration.write_text("".join(f"{line}\n" for line in lines))
        self._socket, self._options = self.directory / "sock", options

    def start(self) -> None:
        """Ready when it takes commands."""
        place = ["-f", str(self._configuration), "-u", str(self._socket), "-P", str(self.directory / "pid")]
        self._launch(["smcrouted", "-n", "-l", "debug", *place, *self._options])
        wait_for(lambda: self._running() and self._socket.exists(), 10.0, "socket of smcrouted")

    def control(self, *words: str) -> str:
        """What `smcroutectl WORDS...` prints; CalledProcessError when it is refused."""
        return self.namespace.command(daemon.program("smcroutectl") or "", "-u", str(self._socket), *words)

    def join(self, interface: str, group: str, source: str = "") -> None:
        """Joins a group, a range of groups (as in 239.1.1.0/30), or a channel on an interface."""
        self.control("join", interface, *[source] * bool(source), group)

    def leave(self, interface: str, group: str, source: str = "") -> None:
        """Undoes `join`."""
        self.control("leave", interface, *[source] * bool(source), group)
