"""A Linux bridge that snoops: which of its ports it has opened for a group, and where it has heard a querier.

Its tables are read with bridge(8) and ip(8) of iproute2, as people read them.
"""

import json
from typing import Any

from bench.peers import daemon
from forwarder.lab.namespaces import Namespace


def obstacle() -> str:
    """Why a bridge's tables cannot be read here; empty when they can."""
    return daemon.missing("bridge", "iproute2") or daemon.missing("ip", "iproute2")


class Bridge:
    """An existing bridge of a namespace."""

    def __init__(self, namespace: Namespace, name: str = "br0") -> None:
        self._namespace, self._name = namespace, name

    def configure(self, **options: int) -> None:
        """Changes options as `ip link set type bridge` names them; intervals are hundredths of a second."""
        words = [word for name, value in options.items() for word in (name, str(value))]
        self._command("ip", "link", "set", "dev", self._name, "type", "bridge", *words)

    def router_ports(self) -> set[str]:
        """Ports behind which it has heard a querier (`bridge -d mdb show`)."""
        routers = self._database().get("router", {})
        return {row["port"] for row in routers.get(self._name, [])}

    def ports(self, group: str) -> dict[str, set[str]]:
        """Ports open for a group, and the sources that are named with each (with version 3)."""
        entries = [row for row in self._database().get("mdb", []) if row["grp"] == group]
        ports: dict[str, set[str]] = {row["port"]: set() for row in entries}
        for row in entries:
            ports[row["port"]] |= {row["src"]} if "src" in row else set()
        return ports

    def _database(self) -> dict[str, Any]:
        [database] = json.loads(self._command("bridge", "-j", "-d", "mdb", "show", "dev", self._name))
        return dict(database)

    def _command(self, name: str, *words: str) -> str:
        return self._namespace.command(daemon.program(name) or name, *words)
