"""mcfwd-agent: feeds the protocol with packets, links and the time, and carries out what it asks for.

It waits for nothing but its poll, and no turn takes long: packets are heard for a breath, of what is due some is done,
counters are published in portions. Before timers expire it is heard what had come by then (an answer that waits in a
queue must not come too late, however long we stood still), but a flood holds no timer up for long. A restarted agent
reads the route rows its predecessor wrote first of all, hears packets once it has all ports, and takes its memberships
back while it does.
"""

import asyncio
import itertools
import logging
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterable

import uvloop

from forwarder.agent import rest
from forwarder.agent.inquiry import Inquiry
from forwarder.agent.listening import Listening
from forwarder.agent.narrator import Narrator, grown
from forwarder.agent.orders import Orders
from forwarder.agent.ports import AgentPorts
from forwarder.agent.publisher import Publisher
from forwarder.agent.rpc import RpcServer
from forwarder.agent.static import static_rows
from forwarder.agent.status import group_rows, host_rows, refusal_rows, upstream_rows
from forwarder.agent.succession import inherit
from forwarder.process import control
from forwarder.process.child import Start, bootstrap
from forwarder.process.lending import Loan
from forwarder.state.ports import Configuration
from forwarder.state.settings import RouteSettings, igmp_of
from forwarder.state.snapshot import SnapshotReader
from igmp.outputs import Notice, Output, Role, Route, Send
from igmp.proxy import Proxy

log = logging.getLogger(__name__)

EVENTS = 128                    # of what is due, done in one turn
BEAT = 1.0                      # seconds between heartbeats
AGAIN = 1.0                     # seconds until we ask for a message that was cut off
PUBLISH_DELAY = 0.1             # seconds from a packet to its counters in shared memory
PORTION = 64                    # ports whose counters are published in one turn


def main() -> None:
    """Be mcfwd-agent until the supervisor says stop.

    SIGTERM says nothing: who got it alone left all groups upstream, and its successor, which takes routers to know what
    was wanted, did not join them again. Whoever stops all of us signals the supervisor too.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start = bootstrap("mcfwd-agent")
    rest.begin()
    uvloop.run(Agent(start).run())


def luck() -> float:
    """What the protocol's delays are a part of: more than 0.0, 1.0 at most."""
    return 1.0 - random.random()


class Agent:
    """See the module; `run` is its life. `clock` is monotonic seconds."""

    def __init__(self, start: Start, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, descriptors = clock, start.descriptors
        self._control = start.control
        self._control.setblocking(False)
        self._wake = descriptors["wake"]
        self._configuration = SnapshotReader(descriptors["configuration"])
        bells = [bell for name, bell in descriptors.items() if name.startswith("wake-worker-")]
        self._publisher = Publisher(descriptors["routes"], descriptors["membership"], bells)
        self._proxy = Proxy(luck)
        nouns = {
            "groups": lambda: group_rows(self._proxy.each_group(self._clock())),
            "hosts": lambda: host_rows(self._proxy.each_host(self._clock())),
            "refusals": lambda: refusal_rows(self._proxy.each_refusal(self._clock())),
            "upstream": lambda: upstream_rows(self._proxy.each_upstream()),
        }
        orders = Orders(self._proxy, self._apply, clock)
        told = {"query": orders.query, "clear": orders.clear, "why": Inquiry(self._proxy, clock).answer}
        self._rpc = RpcServer(descriptors["rpc"], nouns, told)
        self._listening = Listening(clock)
        self._ports = AgentPorts(self._proxy, self._publisher, self._listening, self._carry_out, clock)
        self._routed: object = None
        self._narrator = Narrator()
        self._forwards_always = False           # forward_when_not_querier
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._publishing = False
        self._heard_until = self._owed_since = -math.inf
        self._beats = 0
        self._complete = self._ready = False    # all ports there were are here; all memberships are
        self._refused = self._publisher.refused

    async def run(self) -> None:
        """Serve until told to stop; then leave all groups upstream."""
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._beat()
        await inherit(self._publisher, self._proxy)
        self._configure()
        self._loop.add_reader(self._control.fileno(), self._instructed)
        self._loop.add_reader(self._wake, self._woken)
        self._rpc.attach(self._loop)
        await self._done.wait()
        self._apply(self._proxy.shutdown(self._clock()))

    # what the supervisor says

    def _woken(self) -> None:
        os.eventfd_read(self._wake)
        self._configure()

    def _instructed(self) -> None:
        try:
            received = control.receive(self._control)
        except BlockingIOError:     # woken for nothing
            return
        except control.MessageError:    # we had no descriptor left for what came; by then there may be one
            self._loop.call_later(AGAIN, control.send, self._control, {"type": "again"})
            return
        if received is None:
            self._done.set()
            return
        message, descriptors = received
        match message["type"]:
            case "port":
                self._configure()
                self._ports.lend(Loan(message, descriptors))
                self._settle()
            case "ports_sent":
                self._take_over()
            case "workers":
                self._publisher.ring(descriptors.values())
            case "stop":
                self._done.set()

    def _take_over(self) -> None:
        """All ports there were are here: memberships may be taken back, and packets heard."""
        self._complete = True
        self._proxy.restore(self._publisher.heirs(), self._clock())
        self._loop.add_reader(self._listening.fileno(), self._breathe)
        self._settle()

    def _say_ready(self) -> None:
        """Everything a predecessor had is ours now, and the routes are what it says."""
        if self._complete and not self._ready and not self._proxy.is_restoring:
            self._ready = True
            control.send(self._control, {"type": "ready"})

    def _configure(self) -> None:
        published = self._configuration.poll()
        if published is None:
            return
        configuration = Configuration.from_json(published)
        settings = configuration.settings
        self._igmp = settings.igmp
        self._carry_out(self._proxy.set_merge_only_querier(settings.igmp.merge_only_querier, self._clock()))
        self._ports.configure(configuration)
        self._set_routes(configuration.routes)
        self._settle()

    def _set_routes(self, routes: tuple[RouteSettings, ...]) -> None:
        ports = self._ports.all
        routed = routes, [(port.index, port.assigned, port.name, port.role) for port in ports]
        if self._routed != routed:
            self._routed = routed
            self._publisher.set_static(static_rows(routes, ports))

    # packets and time

    def _breathe(self) -> bool:
        """Hear packets for a breath; False when all were heard."""
        more = self._complete and self._listening.breathe(self._hear, self._overhear)
        self._settle()
        return more

    def _hear(self, index: int, packet: bytes, now: float, mac: int, to: int) -> None:
        if self._narrator.verbose:
            before = dict(self._proxy.counters(index))
        outputs = self._proxy.receive(index, packet, now, mac, to)
        if self._narrator.verbose:
            self._narrator.heard(packet, self._ports[index], grown(before, self._proxy.counters(index)))
        if outputs:
            self._carry_out(outputs)

    def _overhear(self, index: int, packet: bytes, now: float, mac: int, to: int) -> None:
        """The kernel of this host has reported something for itself."""
        if self._narrator.verbose:
            self._narrator.overheard(packet, self._ports[index])
        if outputs := self._proxy.overhear(index, packet, now, mac):
            self._carry_out(outputs)

    def _expire(self) -> None:
        self._timer = None
        self._heard_until = max(self._heard_until, self._hear_until())
        if self._proxy.deadline <= self._heard_until:
            self._apply(self._proxy.expire(self._heard_until, EVENTS))

    def _hear_until(self) -> float:
        """Hear packets for a breath: what came by the time that is returned has been heard.

        After a stall, and in a flood, one breath is not enough. Then what waits at a moment is counted, and time stands
        at that moment for what is due until all of it was heard; what comes meanwhile waits for the next such moment.
        """
        if not self._breathe():
            return self._clock()
        if self._listening.owes:
            return self._heard_until
        since, self._owed_since = self._owed_since, self._clock()
        self._listening.owe()
        return since

    def _apply(self, outputs: Iterable[Output]) -> None:
        self._carry_out(outputs)
        self._settle()

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Route():
                    self._publisher.route(output)
                case Send():
                    self._ports.send(output.port, output.packet)
                case Role():
                    self._publisher.role(output, self._proxy.heard(output.port))
            if self._narrator.verbose or output.__class__ is Role or output.__class__ is Notice:
                self._tell(output)

    def _tell(self, output: Output) -> None:
        """Say it in the log; what is about a port that is no longer ours is no news."""
        match output:
            case Route():
                self._narrator.route(output, self._ports.name)
            case Send() if port := self._ports.get(output.port):
                self._narrator.sent(output, port)
            case Role() if port := self._ports.get(output.port):
                forwards = igmp_of(self._igmp, port.settings).forward_when_not_querier
                self._narrator.role(output, port, self._proxy.is_up(output.port), forwards)
            case Notice() if port := self._ports.get(output.port):
                self._narrator.notice(output, port, self._proxy.version(output.port))

    def _settle(self) -> None:
        """After a turn: wake the workers if routes changed, say once that we are ready, set the timer, publish soon."""
        self._publisher.wake()
        self._say_ready()
        self._arm()
        if not self._publishing:
            self._publishing = True
            self._loop.call_later(PUBLISH_DELAY, self._publish)

    def _arm(self) -> None:
        deadline = self._proxy.deadline
        if self._timer is not None:
            if self._timer_at == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline < math.inf:
            self._timer_at = deadline
            self._timer = self._loop.call_later(max(0.0, deadline - self._clock()), self._expire)

    def _publish(self, done: int = 0) -> None:
        """Counters of all ports, a portion a turn."""
        for index in itertools.islice(self._ports, done, done + PORTION):
            self._publisher.port(self._proxy, index, self._ports.lost(index))
        if done + PORTION < len(self._ports):
            self._loop.call_soon(self._publish, done + PORTION)
        else:
            self._publishing = False

    def _beat(self) -> None:
        self._publisher.beat(time.monotonic_ns())
        if self._publisher.refused > self._refused:
            log.warning("there is no room for %d routes: raise max_routes", self._publisher.refused - self._refused)
            self._refused = self._publisher.refused
        self._beats += 1
        self._ports.confirm(self._beats)
        rest.rest()
        self._loop.call_later(BEAT, self._beat)
