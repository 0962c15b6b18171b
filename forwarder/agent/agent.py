"""mcfwd-agent: feeds the protocol with packets, links and the time, and carries out what it asks for.

It waits for nothing but its poll: every port has a quota per turn, sockets are drained before timers expire (an
answer that waits in a queue must not come too late), and what cannot be sent is counted. A restarted agent takes
its memberships back from the route rows its predecessor wrote.
"""

import asyncio
import gc
import logging
import math
import os
import random
import signal
import time
from collections.abc import Iterable

import uvloop

from forwarder.agent.attachment import Attachment, link_of
from forwarder.agent.publisher import Publisher
from forwarder.agent.rpc import RpcServer
from forwarder.agent.status import group_rows, upstream_rows
from forwarder.process import control
from forwarder.process.child import Start, bootstrap
from forwarder.state.ports import Configuration, Port
from forwarder.state.settings import Settings
from forwarder.state.snapshot import SnapshotReader
from igmp.link import Network, parse_address
from igmp.outputs import Output, Role, Route, Send
from igmp.packet import Rules
from igmp.parameters import Parameters, PortOptions
from igmp.proxy import Proxy

log = logging.getLogger(__name__)

QUOTA = 256                     # packets of one port in one turn of the loop
DRAIN = 4096                    # packets of one port before timers expire
BEAT = 1.0                      # seconds between heartbeats
PUBLISH_DELAY = 0.1             # seconds from a packet to its counters in shared memory

Key = tuple[int, int, int]      # port index, assignment, ifindex


def main() -> None:
    """Be mcfwd-agent until told to stop."""
    start = bootstrap("mcfwd-agent")
    os.nice(2)
    gc.freeze()
    gc.disable()
    uvloop.run(Agent(start).run())


def rules_of(settings: Settings) -> Rules:
    """What the configuration says about receiving IGMP at all."""
    igmp = settings.igmp
    return Rules(
        require_router_alert=igmp.require_router_alert,
        accept_any_ttl=igmp.accept_any_ttl,
        strict_sources=igmp.strict_sources,
        ssm_range=Network.parse(igmp.ssm_range),
    )


def options_of(port: Port, settings: Settings) -> PortOptions:
    """What the configuration says about IGMP on one port."""
    igmp, own = settings.igmp, port.settings
    parameters = Parameters(
        robustness=igmp.robustness,
        query_interval=igmp.query_interval,
        query_response_interval=igmp.query_response_interval,
        last_member_query_interval=igmp.last_member_query_interval,
        last_member_query_count=igmp.last_member_query_count,
        startup_query_interval=igmp.startup_query_interval,
        startup_query_count=igmp.startup_query_count,
        unsolicited_report_interval=igmp.unsolicited_report_interval,
        older_querier_timeout=igmp.older_querier_timeout,
        gmi_rfc3376=igmp.gmi_rfc3376,
        rfc9776=igmp.rfc9776,
    )
    return PortOptions(
        role="upstream" if port.role == "upstream" else "downstream",
        parameters=parameters,
        igmp_version=None if own.igmp_version == "auto" else own.igmp_version,
        querier=own.querier,
        querier_address=None if own.querier_address is None else parse_address(own.querier_address),
        max_groups=own.max_groups,
        max_sources=own.max_sources,
    )


class Agent:
    """See the module; `run` is its life."""

    def __init__(self, start: Start) -> None:
        descriptors = start.descriptors
        self._control = start.control
        self._control.setblocking(False)
        self._wake = descriptors["wake"]
        self._configuration = SnapshotReader(descriptors["configuration"])
        bells = [bell for name, bell in descriptors.items() if name.startswith("wake-worker-")]
        self._publisher = Publisher(descriptors["routes"], descriptors["membership"], bells)
        self._proxy = Proxy(lambda: 1.0 - random.random())
        nouns = {
            "groups": lambda: group_rows(self._proxy.groups(time.monotonic())),
            "upstream": lambda: upstream_rows(self._proxy.upstream(time.monotonic())),
        }
        self._rpc = RpcServer(descriptors["rpc"], nouns)
        self._settings = Settings()
        self._ports: dict[int, Port] = {}
        self._options: dict[int, PortOptions] = {}
        self._lent: dict[Key, int] = {}
        self._attached: dict[int, tuple[Key, Attachment]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._publish: asyncio.TimerHandle | None = None
        self._ready = False

    async def run(self) -> None:
        """Serve until told to stop; then leave all groups upstream."""
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, self._done.set)
        self._configure()
        self._loop.add_reader(self._control.fileno(), self._instructed)
        self._loop.add_reader(self._wake, self._woken)
        self._rpc.attach(self._loop)
        self._beat()
        await self._done.wait()
        self._apply(self._proxy.shutdown(time.monotonic()))

    # what the supervisor says

    def _woken(self) -> None:
        os.eventfd_read(self._wake)
        self._configure()

    def _instructed(self) -> None:
        received = control.receive(self._control)
        if received is None:
            self._done.set()
            return
        message, descriptors = received
        match message["type"]:
            case "port":
                self._lend((message["port"], message["assigned"], message["ifindex"]), descriptors["igmp"])
            case "ports_sent":
                self._become_ready()
            case "stop":
                self._done.set()

    def _lend(self, key: Key, descriptor: int) -> None:
        for former in [each for each in self._lent if each[0] == key[0]]:
            os.close(self._lent.pop(former))
        self._lent[key] = descriptor
        self._configure()
        self._attach()

    def _become_ready(self) -> None:
        """Everything a predecessor had is ours now: take over what no port of today wants, and say so."""
        self._publisher.reconcile(self._proxy.routes())
        self._ready = True
        control.send(self._control, {"type": "ready"})

    def _configure(self) -> None:
        published = self._configuration.poll()
        if published is None:
            return
        configuration = Configuration.from_json(published)
        if rules_of(configuration.settings) != rules_of(self._settings):
            self._proxy.set_rules(rules_of(configuration.settings))
        self._settings = configuration.settings
        self._publisher.generation = configuration.generation
        current = {port.index: port for port in configuration.ports}
        for index in list(self._ports):
            if index not in current or current[index].assigned != self._ports[index].assigned:
                self._remove(index)
        self._ports = current
        self._attach()

    # ports

    def _attach(self) -> None:
        """Bring every port to what configuration and descriptors together say of it."""
        for index, port in self._ports.items():
            self._publisher.assign(port)
            self._apply_options(port)
            key = (index, port.assigned, port.ifindex)
            if index in self._attached and self._attached[index][0] != key:
                self._detach(index)
            if index not in self._attached and key in self._lent:
                self._open(port, key)
            self._set_link(port)

    def _apply_options(self, port: Port) -> None:
        options = options_of(port, self._settings)
        if self._options.get(port.index) == options:
            return
        if port.index in self._options:
            self._detach(port.index)
            self._apply(self._proxy.remove_port(port.index, time.monotonic()))
        self._proxy.add_port(port.index, options)
        self._options[port.index] = options

    def _open(self, port: Port, key: Key) -> None:
        attachment = Attachment(os.dup(self._lent[key]), port)
        self._attached[port.index] = (key, attachment)
        self._loop.add_reader(attachment.fileno(), self._receive, port.index, QUOTA)

    def _set_link(self, port: Port) -> None:
        now = time.monotonic()
        if port.index in self._attached and port.up:
            self._attached[port.index][1].refresh(port)
            self._apply(self._proxy.port_up(port.index, link_of(port), now))
            if not self._ready:
                self._publisher.restore(self._proxy, port.index, now)
                self._arm()
        else:
            self._apply(self._proxy.port_down(port.index, now))

    def _detach(self, index: int) -> None:
        if index not in self._attached:
            return
        _, attachment = self._attached.pop(index)
        self._loop.remove_reader(attachment.fileno())
        attachment.close()
        self._apply(self._proxy.port_down(index, time.monotonic()))

    def _remove(self, index: int) -> None:
        self._detach(index)
        del self._ports[index], self._options[index]
        self._apply(self._proxy.remove_port(index, time.monotonic()))

    # packets and time

    def _receive(self, index: int, limit: int) -> None:
        attachment = self._attached[index][1]
        for packet, mac in attachment.receive(limit):
            self._carry_out(self._proxy.receive(index, packet, time.monotonic(), mac))
        self._settle()

    def _expire(self) -> None:
        self._timer = None
        for index in list(self._attached):
            self._receive(index, DRAIN)
        self._apply(self._proxy.expire(time.monotonic()))

    def _apply(self, outputs: Iterable[Output]) -> None:
        self._carry_out(outputs)
        self._settle()

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Send(port, packet):
                    if port in self._attached:
                        self._attached[port][1].send(packet)
                case Route():
                    self._publisher.route(output)
                case Role():
                    self._publisher.role(output)

    def _settle(self) -> None:
        """After a turn: wake the workers if routes changed, set the timer, publish counters soon."""
        self._publisher.wake()
        self._arm()
        if self._publish is None:
            self._publish = self._loop.call_later(PUBLISH_DELAY, self._publish_counters)

    def _arm(self) -> None:
        deadline = self._proxy.deadline
        if self._timer is not None:
            if self._timer_at == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline < math.inf:
            self._timer_at = deadline
            self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._expire)

    def _publish_counters(self) -> None:
        self._publish = None
        for index in self._ports:
            self._publisher.port(self._proxy, index)

    def _beat(self) -> None:
        self._publisher.beat(time.monotonic_ns())
        if self._publish is None:
            gc.collect(1)
        self._loop.call_later(BEAT, self._beat)
