"""Everything that outlives a child: the segments, the bells that wake readers, the way from API to agent."""

import os
import socket
from collections.abc import Sequence

from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.settings import DataplaneSettings

WORKER = "mcfwd-worker-"
"""What the names of workers begin with; the number follows."""
AGENT, API = "mcfwd-agent", "mcfwd-api"
HEARTBEAT_WORDS = 8


def _bell() -> int:
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class Shared:
    """Descriptors by purpose; made once, closed with the process."""

    def __init__(self, sizes: DataplaneSettings) -> None:
        self.configuration = snapshot.create("mcfwd-configuration")
        self.processes = snapshot.create("mcfwd-processes")
        self.routes = routes.create(sizes.max_routes, sizes.ports)
        self.membership = membership.create(sizes.ports)
        numbers = range(sizes.workers)
        self.sizes = sizes
        self.workers = [worker_segment.create(number, sizes.ports, sizes.max_flows) for number in numbers]
        self._coming: list[int] = []    # the segments that workers will have, where theirs are to be others
        self.api = segment.create("mcfwd-api", HEARTBEAT_WORDS)
        names = [*(f"{WORKER}{number}" for number in numbers), AGENT, API]
        self.wake = {name: _bell() for name in names}
        self._rpc = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def ring(self) -> None:
        """Wake every child: the configuration changed."""
        for bell in self.wake.values():
            os.eventfd_write(bell, 1)

    def plan(self, sizes: DataplaneSettings) -> None:
        """Make the segments that workers will have by these sizes, and bells for those that there will be more.

        OSError (nothing changed) where they are not to be had. What a plan before this one has left, which was given
        up in the middle, is closed, or of use again.
        """
        coming: list[int] = []
        bells: dict[str, int] = {}
        try:
            for number in range(sizes.workers):
                coming.append(worker_segment.create(number, self.sizes.ports, sizes.max_flows))
                if (name := f"{WORKER}{number}") not in self.wake:
                    bells[name] = _bell()
        except OSError:
            for descriptor in (*coming, *bells.values()):
                os.close(descriptor)
            raise
        for descriptor in set(self._coming).difference(self.workers):
            os.close(descriptor)
        self._coming = coming
        self.wake |= bells

    def hand_on(self, number: int) -> None:
        """The worker of this number has ended, or is yet to begin: the segment made for it is its own from now on.

        OSError (nothing changed) where segments cannot be mapped; what has been handed on is not again.
        """
        if number == len(self.workers):
            self.workers.append(self._coming[number])
        elif self.workers[number] != self._coming[number]:
            self._replace(number, self._coming[number])

    def _replace(self, number: int, coming: int) -> None:
        """In one step at the end: whatever was copied before a refusal is copied anew."""
        many = len(self._coming)
        former, dismissed = self.workers[number], self.workers[many:]
        worker_segment.hand_on(former, coming)
        for each in dismissed:      # the first who is replaced counts on for those who are not
            worker_segment.add(each, coming)
        self.workers[number] = coming
        del self.workers[many:]
        for each in (former, *dismissed):
            os.close(each)

    def settle(self) -> None:
        """All workers have what was made for them; nobody wakes those that are there no more."""
        gone = [name for name in self.wake if name.startswith(WORKER) and int(name[len(WORKER):]) >= len(self.workers)]
        for name in gone:
            os.close(self.wake.pop(name))
        self._coming = []

    def for_worker(self, number: int) -> dict[str, int]:
        """The descriptors of a worker; the other workers' segments are there to be read, as soon as they have them."""
        others = self._segments(self._coming or self.workers, number)
        return {**self._common(f"{WORKER}{number}"), **others, "segment": self.workers[number]}

    def for_agent(self) -> dict[str, int]:
        """The descriptors of the agent."""
        return {**self._common(AGENT), **self.bells(), "rpc": self._rpc[0].fileno()}

    def bells(self) -> dict[str, int]:
        """What wakes workers, by name."""
        return {f"wake-worker-{name.removeprefix(WORKER)}": bell for name, bell in self.wake.items()
                if name.startswith(WORKER)}  # fmt: skip

    def segments(self) -> dict[str, int]:
        """Those of all workers, by name."""
        return self._segments(self.workers)

    def for_api(self, listener: int) -> dict[str, int]:
        """The descriptors of the API process."""
        own = {"listener": listener, "processes": self.processes, "segment": self.api}
        return {**self._common(API), **own, **self.segments(), "agent": self._rpc[1].fileno()}

    def _segments(self, workers: Sequence[int], but: int | None = None) -> dict[str, int]:
        """Those of all workers, or of all `but` one."""
        return {f"worker-{number}": fd for number, fd in enumerate(workers) if number != but}

    def _common(self, name: str) -> dict[str, int]:
        state = {"configuration": self.configuration, "routes": self.routes, "membership": self.membership}
        return {**state, "wake": self.wake[name]}
