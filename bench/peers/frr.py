"""FRR in a namespace: zebra and pimd with sockets of their own, told and asked through vtysh.

FRR gives up its root and wants a user of its own, so it runs only where root may become another user.
"""

import json
import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.peers.daemon import Daemon, program
from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for

DAEMONS = Path("/usr/lib/frr")
USER = "frr"  # built into Debian's package


def obstacle() -> str:
    """Why FRR cannot run here; empty when it can."""
    if not program("vtysh") or not all((DAEMONS / name).exists() for name in ("zebra", "pimd")):
        return "zebra, pimd and vtysh are not installed (Debian package frr)"
    if os.geteuid() != 0 or not _maps(pwd.getpwnam(USER).pw_uid):
        return f"zebra and pimd run as the user {USER}, whom only root of the machine can become"
    return ""


def _maps(uid: int) -> bool:
    """Whether a user exists in our user namespace (user_namespaces(7))."""
    rows = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in rows)


class Frr(Daemon):
    """zebra and pimd; `interfaces` has the lines of each interface, `routing` those that stand by themselves."""

    def __init__(
        self, namespace: Namespace, interfaces: Mapping[str, Sequence[str]], routing: Sequence[str] = ()
    ) -> None:
        super().__init__(namespace, "frr")
        self.directory.chmod(0o755)
        shutil.chown(self.directory, USER, USER)
        self._interfaces, self._routing = interfaces, routing

    def start(self) -> None:
        """Ready when pimd is configured and all its IGMP interfaces are up."""
        self._start("zebra", "zebra.vty", "zserv.api")
        self._start("pimd", "pimd.vty")
        for name, lines in self._interfaces.items():
            self.configure(f"interface {name}", *lines)
        wait_for(lambda: self._running() and self._interfaces_up(), 10.0, "interfaces of pimd")
        # A rendezvous point is refused until there is a way to it.
        wait_for(self._routed, 20.0, "routing of pimd")

    def configure(self, *lines: str) -> None:
        """Lines as they stand in frr.conf; CalledProcessError when one is refused."""
        self.command("configure terminal", *lines)

    def command(self, *commands: str) -> str:
        """What vtysh prints for commands given one after the other."""
        words = [word for command in commands for word in ("-c", command)]
        # Only pimd is asked: zebra has no word for IGMP and would refuse it.
        return self.namespace.command(
            program("vtysh") or "", "--vty_socket", str(self.directory), "-d", "pimd", *words
        )

    def show(self, what: str) -> Any:
        """What `show WHAT json` answers."""
        return json.loads(self.command(f"show {what} json"))

    def group(self, interface: str, group: str) -> dict[str, Any] | None:
        """The row of `show ip igmp groups` for a group on an interface, if any."""
        rows: list[dict[str, Any]] = self.show("ip igmp groups").get(interface, {}).get("groups", [])
        return next((row for row in rows if row["group"] == group), None)

    def sources(self, interface: str, group: str) -> dict[str, bool]:
        """Sources of a group as `show ip igmp sources` has them ("*" for any), and whether they are forwarded."""
        rows = self.show("ip igmp sources").get(interface, {}).get(group, {}).get("sources", [])
        return {row["source"]: row.get("forwarded", False) for row in rows}

    def interface(self, name: str) -> dict[str, Any]:
        """The row of `show ip igmp interface` for an interface; empty where IGMP is off."""
        row: dict[str, Any] = self.show("ip igmp interface").get(name, {})
        return row

    def _start(self, name: str, *sockets: str) -> None:
        paths = [self.directory / each for each in sockets]
        for path in paths:
            path.unlink(missing_ok=True)
        (self.directory / f"{name}.conf").touch()
        self._launch([
            str(DAEMONS / name), "--vty_socket", str(self.directory), "-i", str(self.directory / f"{name}.pid"),
            "-z", str(self.directory / "zserv.api"), "-f", str(self.directory / f"{name}.conf"),
            "-P", "0", "--log", "stdout",
        ])
        wait_for(lambda: self._running() and all(path.exists() for path in paths), 10.0, f"sockets of {name}")

    def _interfaces_up(self) -> bool:
        # pimd learns addresses from zebra, some moments after it has taken its configuration.
        rows = self.show("ip igmp interface").values()
        return all(row["state"] in ("up", "mtrc") and row["address"] != "0.0.0.0" for row in rows)

    def _routed(self) -> bool:
        configured = self.command("show running-config").splitlines()
        if all(line in configured for line in self._routing):
            return True
        self.configure(*self._routing)
        return False
