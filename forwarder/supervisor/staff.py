"""The roles that must always be filled, and who fills them: children are started, lent ports, watched and replaced.

One spare worker waits with its imports done. Nobody starts before those whose work comes first: the API begins when
the data path serves its ports.
"""

import logging
import os
import selectors
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from math import inf
from typing import Any

from forwarder.process import control, long_messages
from forwarder.process.launch import describe
from forwarder.process.user import name_of
from forwarder.state import standing
from forwarder.state.membership import MembershipReader
from forwarder.state.segment import Segment
from forwarder.state.settings import DataplaneSettings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.state.worker_segment import WorkerReader
from forwarder.supervisor.children import Child, Process
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.memory_limit import MemoryLimit
from forwarder.supervisor.ports import Ports
from forwarder.supervisor.restaffing import Restaffing
from forwarder.supervisor.shared import AGENT, API, WORKER, Shared
from forwarder.supervisor.thrift import Thrift

log = logging.getLogger(__name__)

STOP_TIME = 2.0         # seconds the agent has for its leaves
SPARE_RETRY = 5.0
LATE = 3.0
WORKER_MODULE = "forwarder.dataplane.worker"

Request = dict[str, Any]
Answer = Callable[[Request, Callable[[Request], None]], None]   # what the API asks of us; what tells it, now or later
Starter = Callable[[str, int, int], Process]    # module, our process id, niceness


class Staff:
    """All children; `answer` is asked what the API process asks of the supervisor, `kept`: why they are our user's."""

    def __init__(
        self, shared: Shared, ports: Ports, listener: int, selector: selectors.BaseSelector, log_level: str,
        answer: Answer, guard: Guard, starter: Starter = Process.start, clock: Callable[[], float] = time.monotonic,
        kept: str | None = None, log_format: str = "text", thrift: Thrift | None = None,
    ) -> None:
        self._shared, self._ports, self._selector = shared, ports, selector
        self._log, self._answer, self._guard = (log_level, log_format), answer, guard
        self._starter, self._clock = starter, clock
        self._version = version("mcfwd")    # now: the package may be replaced or removed while we run
        self._us, self._them = (name_of(uid) for uid in (os.geteuid(), os.getuid()))
        self._kept, self._thrift = kept, thrift or Thrift(MemoryLimit([]))
        self._processes = SnapshotWriter(shared.processes)
        self.children = _roles(shared, listener)
        self._restaffing = Restaffing(shared, self, ports, clock)
        self._spare: Process | None = None
        self._spare_not_before = 0.0
        self._last_turn = self._awake_since = 0.0
        self._started = clock()
        self._shown: object = None

    @property
    def complete(self) -> bool:
        """Whether every child is ready."""
        return all(child.ready for child in self.children.values())

    @property
    def has_spare(self) -> bool:
        """Whether a worker waits for its turn, or none is to."""
        return self._spare is not None or self._thrift.left_out is not None

    def start(self) -> None:
        """Fill every role."""
        for child in self.children.values():
            self._fill(child, self._clock())
            self._settle(child)

    def keep(self, now: float) -> None:
        """Replace who ended or stalls, lend what is owed."""
        self._notice_own_absence(now)
        for child in self.children.values():
            self._guard.take(f"looking after {child.name}", partial(self._look_after, child, now))
        self._guard.take("replacing workers", self._restaffing.turn)
        if self._to_be_shown() != self._shown:
            self._guard.take("saying who runs", self._publish)

    def _to_be_shown(self) -> object:
        """Whatever is said besides who runs: another value when it is something else."""
        return self._guard.faults, self._ports.changed, self.serves(), self._waiting(), self._thrift.left_out

    def _waiting(self) -> dict[str, frozenset[int]]:
        """The ports that borrowers have not been lent yet."""
        return {child.name: frozenset(child.owed if child.begun and child.process else self._ports.open)
                for child in self._borrowers()}  # fmt: skip

    def _look_after(self, child: Child, now: float) -> None:
        self._keep_alive(child, now)
        self._settle(child)

    def restaff(self, sizes: DataplaneSettings) -> None:
        """Let there be workers of these sizes, one after the other."""
        self._restaffing.want(sizes)

    def worker(self, number: int) -> Child:
        """A new role, of which `keep` fills what is vacant."""
        return _worker(self._shared, number)

    def spare_age(self, now: float) -> float | None:
        """Seconds since the spare was started; None where there is none, inf where there is to be none."""
        if self._thrift.left_out is not None:
            return inf
        return None if self._spare is None else now - self._spare_not_before

    def end(self, child: Child) -> None:
        """A role that is no more: its process is no longer heard, and ended if it has not yet."""
        if child.process is not None:
            self._hang_up(child.process)
            child.process.kill()
        self._publish()

    def open_doors(self) -> None:
        """Let the API begin, if it has not yet."""
        if not self.children[API].begun:
            self._begin(self.children[API])

    def serves(self) -> bool:
        """Whether the data path is ready."""
        return all(child.ready for child in self._borrowers())

    def owe(self, index: int, worker: int | None = None) -> None:
        """A port has got its sockets, or one worker's other ones: `keep` lends them."""
        for child in self._borrowers():
            if worker is None or child.arguments.get("index") == worker:
                child.owed.append(index)

    def owe_rings(self, index: int) -> None:
        """A port has other rings, for another number of workers."""
        for number in range(len(self._shared.workers)):
            self.owe(index, number)

    def keep_spare(self, now: float) -> None:
        """One more worker with its imports done, once the others have had the processor, where memory is not short."""
        if self._spare is not None and (status := self._spare.popen.poll()) is not None:
            log.warning("the spare worker ended (%s); starting it again in %g s", describe(status), SPARE_RETRY)
            self._thrift.explain("the spare worker", status)
            self._spare.channel.close()
            self._spare, self._spare_not_before = None, now + SPARE_RETRY
        if self._spare is not None and self._thrift.is_short():
            spare, self._spare = self._spare, None
            spare.kill()
        if self._spare is None and now >= self._spare_not_before and self.complete:
            self._spare_not_before = now + SPARE_RETRY  # if it cannot be started
            if self._thrift.has_room():
                self._spare = self._starter(WORKER_MODULE, os.getpid(), 0)
                self._spare_not_before = now

    def stop(self) -> None:
        """Let the agent leave its groups, then end all."""
        agent = self.children[AGENT]
        agent.send({"type": "stop"})
        if agent.process is not None:
            deadline = time.monotonic() + STOP_TIME
            while agent.process.popen.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        processes = [child.process for child in self.children.values()] + [self._spare]
        for process in filter(None, processes):
            process.kill()

    def _borrowers(self) -> list[Child]:
        """Those who are lent ports."""
        return [child for child in self.children.values() if child.name != API]

    def _notice_own_absence(self, now: float) -> None:
        """Whoever froze us may have frozen the children too, so their silence of that time says nothing."""
        if self._last_turn and now - self._last_turn > LATE:
            self._awake_since = now
        self._last_turn = now

    def _pay(self, child: Child) -> None:
        """Lend a child the ports it is owed, as far as its queue takes them; then tell it that it has them all."""
        if child.process is None or not child.begun or child.name == API:
            return
        while child.owed:
            loan = self._ports.loan(child.arguments.get("index"), child.owed[0])
            if loan is not None and not child.send(*loan):
                return
            del child.owed[0]
        child.told = child.told or (self._has_all(child) and child.send({"type": "ports_sent"}))

    def _has_all(self, child: Child) -> bool:
        """Whether it was lent something of each port.

        A worker that is one more has no rings before those of all ports are others: it reads none until it can send to
        every port, or what it reads first would be lost for those that come later.
        """
        number = child.arguments.get("index")
        return not number or all(self._ports.loan(number, index) is not None for index in self._ports.open)

    def _fill(self, child: Child, now: float) -> None:
        """Find somebody for a role; where there is nobody to be had, it stays vacant until the next try."""
        spare = None
        if child.module == WORKER_MODULE:
            spare, self._spare = self._spare, None
        try:
            process = spare or self._starter(child.module, os.getpid(), child.nice)
        except (OSError, RuntimeError) as error:    # no process, descriptor, memory or thread to be had
            child.refused(now, error)
            return
        child.adopt(process, now, waited=spare is not None)
        self._publish()

    def _settle(self, child: Child) -> None:
        """What makes a new process the child. Each step is taken once: one that the system refuses, in a later turn."""
        if child.process is not None and not child.heard:
            turn = f"hearing {child.name}", partial(self._hear, child, child.process)
            self._selector.register(child.process.channel, selectors.EVENT_READ, turn)
            child.heard = True
        if child.process is not None and not child.begun and child.name != API:
            self._begin(child)
        self._pay(child)

    def _begin(self, child: Child) -> None:
        """Tell a child what it is; it is owed all ports there are."""
        if child.begin(*self._log):
            child.owed = self._ports.open

    def _hear(self, child: Child, process: Process) -> None:
        """A child says that it is ready or asks for something, or its end of the channel is gone.

        What is refused here (no memory for a message) is a fault, and what the child said is there in the next turn.
        """
        received = control.receive(process.channel)
        if received is None:
            self._selector.unregister(process.channel)
        elif received[0].get("type") == "here":
            child.here = True
        elif received[0].get("type") == "ready":
            child.ready = True
        elif received[0].get("type") == "again":    # a message was cut off, and it does not know which
            child.owed = [] if child.name == API else self._ports.open
            self._restaffing.tell_again(child.name)
        elif child.name == API:
            self._answer(long_messages.whole(*received), partial(self._reply, child, process))

    def _reply(self, child: Child, process: Process, answer: Request) -> None:
        """Its successor did not ask, and counts its own questions."""
        if child.process is process:
            child.send(answer)

    def _keep_alive(self, child: Child, now: float) -> None:
        process = child.process
        if process is not None and not child.killed and child.stalled(now, self._awake_since):
            log.error("%s has been silent for %.0f s and is killed", child.name, child.silence(now, self._awake_since))
            process.popen.kill()    # and reaped below, now or in another turn: the kernel may be busy with it for long
            child.killed = True
        if process is not None and (status := child.reap(now)) is not None:
            if child.leaving is None and not child.killed:
                self._thrift.explain(child.name, status)
            self._hang_up(process)
            self._publish()
        if child.process is None and child.leaving is not None:
            self._restaffing.succeed(child)     # what is refused here is tried again in the next turn
            self._spare_not_before = now        # for the next that is replaced
        if child.process is None and now >= child.not_before:
            self._fill(child, now)

    def _hang_up(self, process: Process) -> None:
        if process.channel in self._selector.get_map():
            self._selector.unregister(process.channel)
        process.channel.close()

    def _publish(self) -> None:
        rows = [
            {"name": child.name, "pid": child.process.popen.pid, "user": self._them, "started": child.started,
             "restarts": child.restarts}
            for child in self.children.values()
            if child.process is not None
        ]  # fmt: skip
        own = {"name": "mcfwd", "pid": os.getpid(), "user": self._us, "started": self._started, "restarts": 0}
        value = {"version": self._version, "started": self._started, "faults": self._guard.faults, "kept": self._kept,
                 "spare_left_out": self._thrift.left_out}
        shown, ports = self._to_be_shown(), standing.to_json(self._ports.standings(self._waiting()))
        sockets = {"ready": self.serves(), "ring_memory": self._ports.ring_memory, "ports": ports}
        self._processes.publish({**value, **sockets, "processes": [own, *rows]})
        self._shown = shown
        os.eventfd_write(self._shared.wake[API], 1)


def _roles(shared: Shared, listener: int) -> dict[str, Child]:
    agent, api = MembershipReader(shared.membership), Segment(shared.api)
    children = [_worker(shared, number) for number in range(len(shared.workers))]
    children.append(Child(AGENT, "forwarder.agent", {}, shared.for_agent, lambda: agent.heartbeat, nice=2))
    lent = partial(shared.for_api, listener)
    children.append(Child(API, "forwarder.api", {}, lent, lambda: api.words[0] / 1e9, nice=5))
    return {child.name: child for child in children}


def _worker(shared: Shared, number: int) -> Child:
    own = WorkerReader(shared.workers[number])
    lent = partial(shared.for_worker, number)
    return Child(f"{WORKER}{number}", WORKER_MODULE, {"index": number}, lent, lambda: own.heartbeat)
