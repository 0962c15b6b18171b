"""Everything that outlives a child: the segments, the bells that wake readers, the way from API to agent."""

import os
import socket

from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.settings import DataplaneSettings

WORKER = "mcfwd-worker-"
"""What the names of workers begin with; the number follows."""
AGENT, API = "mcfwd-agent", "mcfwd-api"
HEARTBEAT_WORDS = 8


class Shared:
    """Descriptors by purpose; made once, closed with the process."""

    def __init__(self, sizes: DataplaneSettings) -> None:
        self.configuration = snapshot.create("mcfwd-configuration")
        self.processes = snapshot.create("mcfwd-processes")
        self.routes = routes.create(sizes.max_routes, sizes.ports)
        self.membership = membership.create(sizes.ports)
        numbers = range(sizes.workers)
        self.workers = [worker_segment.create(number, sizes.ports, sizes.max_flows) for number in numbers]
        self.api = segment.create("mcfwd-api", HEARTBEAT_WORDS)
        names = [*(f"{WORKER}{number}" for number in numbers), AGENT, API]
        self.wake = {name: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for name in names}
        self._rpc = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def ring(self) -> None:
        """Wake every child: the configuration changed."""
        for bell in self.wake.values():
            os.eventfd_write(bell, 1)

    def for_worker(self, number: int) -> dict[str, int]:
        """The descriptors of a worker; the other workers' segments are there to be read."""
        return {**self._common(f"{WORKER}{number}"), **self._segments(number), "segment": self.workers[number]}

    def for_agent(self) -> dict[str, int]:
        """The descriptors of the agent."""
        bells = {f"wake-worker-{number}": self.wake[f"{WORKER}{number}"] for number in range(len(self.workers))}
        return {**self._common(AGENT), **bells, "rpc": self._rpc[0].fileno()}

    def for_api(self, listener: int) -> dict[str, int]:
        """The descriptors of the API process."""
        own = {"listener": listener, "processes": self.processes, "segment": self.api}
        return {**self._common(API), **own, **self._segments(), "agent": self._rpc[1].fileno()}

    def _segments(self, but: int | None = None) -> dict[str, int]:
        """Those of all workers, or of all `but` one."""
        return {f"worker-{number}": fd for number, fd in enumerate(self.workers) if number != but}

    def _common(self, name: str) -> dict[str, int]:
        state = {"configuration": self.configuration, "routes": self.routes, "membership": self.membership}
        return {**state, "wake": self.wake[name]}
