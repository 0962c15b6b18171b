"""Everything that outlives a child: the segments, the bells that wake readers, the way from API to agent."""

import os
import socket

from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.settings import DataplaneSettings

WORKER = "mcfwd-worker-0"
AGENT, API = "mcfwd-agent", "mcfwd-api"
HEARTBEAT_WORDS = 8


class Shared:
    """Descriptors by purpose; made once, closed with the process."""

    def __init__(self, sizes: DataplaneSettings) -> None:
        self.configuration = snapshot.create("mcfwd-configuration")
        self.processes = snapshot.create("mcfwd-processes")
        self.routes = routes.create(sizes.max_routes, sizes.max_ports)
        self.membership = membership.create(sizes.max_ports)
        self.worker = worker_segment.create(0, sizes.max_ports, sizes.max_flows)
        self.api = segment.create("mcfwd-api", HEARTBEAT_WORDS)
        self.wake = {name: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for name in (WORKER, AGENT, API)}
        self._rpc = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def ring(self) -> None:
        """Wake every child: the configuration changed."""
        for bell in self.wake.values():
            os.eventfd_write(bell, 1)

    def for_worker(self) -> dict[str, int]:
        """The descriptors of a worker."""
        return {**self._common(WORKER), "segment": self.worker}

    def for_agent(self) -> dict[str, int]:
        """The descriptors of the agent."""
        return {**self._common(AGENT), "rpc": self._rpc[0].fileno(), "wake-worker-0": self.wake[WORKER]}

    def for_api(self, listener: int) -> dict[str, int]:
        """The descriptors of the API process."""
        own = {"listener": listener, "processes": self.processes, "segment": self.api}
        return {**self._common(API), **own, "worker-0": self.worker, "agent": self._rpc[1].fileno()}

    def _common(self, name: str) -> dict[str, int]:
        state = {"configuration": self.configuration, "routes": self.routes, "membership": self.membership}
        return {**state, "wake": self.wake[name]}
