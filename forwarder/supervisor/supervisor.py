"""The supervisor's loop: links and signals in, ports and children out.

One poll loop without threads of its own (ports are opened beside it). It publishes ports and settings as a snapshot,
lends sockets to whoever fills a role, and replaces what dies. State that matters is in the shared segments; the
supervisor's own memory of a port is its sockets.
"""

import logging
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version

from setproctitle import setproctitle

from forwarder.packet.packet_socket import PortError
from forwarder.process import control, privileges
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.segment import Segment
from forwarder.state.settings import Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.state.worker_segment import HEARTBEAT, WorkerSegment
from forwarder.supervisor import listener
from forwarder.supervisor.assignment import Assignment
from forwarder.supervisor.children import Child, Process, describe
from forwarder.supervisor.links import Link, LinkWatch, obstacle
from forwarder.supervisor.notify import notify
from forwarder.supervisor.shared import AGENT, API, WORKER, Shared
from forwarder.supervisor.sockets import PortOpener, PortSockets, key_of

log = logging.getLogger(__name__)

EXIT_UNAVAILABLE, EXIT_CANNOT_CREATE, EXIT_NO_PERMISSION = 69, 73, 77
TICK = 1.0
LATE = 3.0
STOP_TIME = 2.0
READY_TIME = 5.0
PORT_RETRY = 1.0
SPARE_RETRY = 5.0
WORKER_MODULE = "forwarder.dataplane.worker"
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def run(settings: Settings, load: Callable[[], Settings], socket_path: str, log_level: str) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status of `mcfwd run`."""
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s mcfwd %(levelname)s %(message)s")
    if not privileges.has_capability(privileges.CAP_NET_RAW):
        log.error("CAP_NET_RAW is missing. Grant it: run as root, `docker run --cap-add NET_RAW`, systemd "
                  "`AmbientCapabilities=CAP_NET_RAW`, or `setpriv --ambient-caps +net_raw --inh-caps +net_raw`")
        return EXIT_NO_PERMISSION
    watch = LinkWatch()
    if problem := _never_works(settings, watch.snapshot()):
        log.error("%s", problem)
        return EXIT_UNAVAILABLE
    try:
        listening = listener.claim(socket_path)
    except (listener.SocketInUse, OSError) as error:
        reason = "another instance answers there" if isinstance(error, listener.SocketInUse) else error.strerror
        log.error("control socket %s: %s", socket_path, reason)
        return EXIT_CANNOT_CREATE
    privileges.keep_only(privileges.CAP_NET_RAW)
    _raise_descriptor_limit()
    setproctitle("mcfwd")
    try:
        return Supervisor(settings, load, watch, listening, log_level).run()
    finally:
        listener.release(listening, socket_path)


def _raise_descriptor_limit() -> None:
    """Three sockets a port, in us and on their way to the children: as many as we may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _never_works(settings: Settings, links: dict[str, Link]) -> str | None:
    named = (links.get(interface.name) for interface in settings.interface if interface.role != "disabled")
    return next((problem for link in named if link and (problem := obstacle(link))), None)


class Supervisor:
    """See the module; `run` is its life."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], watch: LinkWatch,
                 listening: socket.socket, log_level: str) -> None:
        self._settings, self._load, self._watch, self._log_level = settings, load, watch, log_level
        self._shared = Shared(settings.dataplane)
        self._configuration = SnapshotWriter(self._shared.configuration)
        self._processes = SnapshotWriter(self._shared.processes)
        self._assignment = Assignment(settings.dataplane.max_ports)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._opener = PortOpener(settings.dataplane, self._bell)
        self._links: dict[str, Link] = {}
        self._ports: tuple[Port, ...] = ()
        self._sockets: dict[int, PortSockets] = {}
        self._retry_ports = 0.0
        self._failures: dict[str, str] = {}
        self._children = self._roles(listening)
        self._spare: Process | None = None
        self._spare_not_before = 0.0
        self._last_tick = self._awake_since = 0.0
        self._selector = selectors.DefaultSelector()
        self._started = time.monotonic()
        self._announced = False
        self._stopping = False

    def _roles(self, listening: socket.socket) -> dict[str, Child]:
        shared = self._shared
        agent, api = MembershipReader(shared.membership), Segment(shared.api)
        children = [self._worker_role(number) for number in range(len(shared.workers))]
        children.append(Child(AGENT, "forwarder.agent", {}, shared.for_agent(), lambda: agent.heartbeat, nice=2))
        descriptors = shared.for_api(listening.fileno())
        children.append(Child(API, "forwarder.api", {}, descriptors, lambda: api.words[0] / 1e9, nice=5))
        return {child.name: child for child in children}

    def _worker_role(self, number: int) -> Child:
        segment = WorkerSegment(self._shared.workers[number])

        def heartbeat() -> float:
            return int(segment.header[HEARTBEAT]) / 1e9

        descriptors = self._shared.for_worker(number)
        return Child(f"{WORKER}{number}", WORKER_MODULE, {"index": number}, descriptors, heartbeat)

    # life

    def run(self) -> int:
        """Until a signal says stop."""
        signals = self._catch_signals()
        for source, turn in ((self._watch, self._links_changed), (self._bell, self._ports_opened), (signals, None)):
            self._selector.register(source, selectors.EVENT_READ, turn)
        for child in self._children.values():
            self._fill(child)
        self._refresh_links()
        while not self._stopping:
            for key, _ in self._selector.select(TICK if self._spare else 0.2):
                if key.data is None:
                    self._signalled(signals)
                else:
                    key.data()
            self._tick(time.monotonic())
        return self._stop()

    def _catch_signals(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._wakeup_end = theirs
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        return ours

    def _signalled(self, signals: socket.socket) -> None:
        for number in signals.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stopping = True
            elif number == signal.SIGHUP:
                self._reload()

    def _tick(self, now: float) -> None:
        self._notice_own_absence(now)
        for child in self._children.values():
            self._keep_alive(child, now)
            self._pay(child)
        if self._retry_ports and now >= self._retry_ports:
            self._retry_ports = 0.0
            self._open_ports()
        if not self._children[API].begun and self._data_path_ready(now):
            self._begin(self._children[API])
        if not self._announced and all(child.ready for child in self._children.values()):
            self._announced = True
            log.info("ready: %s", ", ".join(f"{port.name} ({port.role}, {port.state})" for port in self._ports))
            notify("READY=1")
        self._keep_spare(now)

    def _notice_own_absence(self, now: float) -> None:
        """Whoever froze us may have frozen the children too, so their silence of that time says nothing."""
        if self._last_tick and now - self._last_tick > LATE:
            self._awake_since = now
        self._last_tick = now

    def _keep_spare(self, now: float) -> None:
        """One more worker with its imports done, once the others have had the processor."""
        if self._spare is not None and (status := self._spare.popen.poll()) is not None:
            log.warning("the spare worker ended (%s); starting it again in %g s", describe(status), SPARE_RETRY)
            self._spare.channel.close()
            self._spare, self._spare_not_before = None, now + SPARE_RETRY
        waiting = self._announced and self._spare is None and now >= self._spare_not_before
        if waiting and all(child.ready for child in self._children.values()):
            self._spare = Process.start(WORKER_MODULE, os.getpid())

    def _stop(self) -> int:
        notify("STOPPING=1")
        agent = self._children[AGENT]
        agent.send({"type": "stop"})
        if agent.process is not None:
            deadline = time.monotonic() + STOP_TIME
            while agent.process.popen.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        processes = [child.process for child in self._children.values()] + [self._spare]
        for process in filter(None, processes):
            process.kill()
        for sockets in self._sockets.values():
            self._opener.close(sockets)
        self._opener.shutdown()
        return 0

    # links and ports

    def _links_changed(self) -> None:
        self._watch.drain()
        self._refresh_links()

    def _refresh_links(self) -> None:
        self._links = self._watch.snapshot()
        generation = self._configuration.sequence + 1
        ports = self._assignment.update(self._settings, self._links, generation)
        if ports != self._ports or generation == 1:
            self._publish(generation, ports)

    def _publish(self, generation: int, ports: tuple[Port, ...]) -> None:
        """Say to all what has changed, and open or close sockets."""
        former, self._ports = {port.name: port for port in self._ports}, ports
        for port in ports:
            _tell(former.get(port.name), port)
        self._close_ports()
        self._configuration.publish(Configuration(generation, self._settings, self._ports).to_json())
        self._shared.ring()
        self._open_ports()

    def _close_ports(self) -> None:
        current = {port.index: key_of(port) for port in self._ports}
        for index in [index for index, each in self._sockets.items() if current.get(index) != each.key]:
            self._opener.close(self._sockets.pop(index))

    def _open_ports(self) -> None:
        for port in self._ports:
            link = self._links.get(port.name)
            if link is not None and port.ifindex and port.index not in self._sockets:
                self._opener.open(port, promiscuous=link.kind == "bridge")

    def _ports_opened(self) -> None:
        os.eventfd_read(self._bell)
        current = {key_of(port): port.name for port in self._ports}
        for sockets in self._opener.done(self._port_failed):
            index = sockets.key[0]
            if sockets.key not in current:
                self._opener.close(sockets)
                continue
            self._failures.pop(current[sockets.key], None)
            self._sockets[index] = sockets
            for child in self._served():
                child.owed.append(index)
                self._pay(child)
        if not self._retry_ports:
            self._open_ports()

    def _served(self) -> list[Child]:
        """The children that ports are lent to."""
        return [child for child in self._children.values() if child.name != API]

    def _port_failed(self, error: PortError) -> None:
        """Try again soon, but say only once what is wrong with a port."""
        self._retry_ports = time.monotonic() + PORT_RETRY
        if self._failures.get(error.port) != str(error):
            self._failures[error.port] = str(error)
            log.error("%s", error)

    def _pay(self, child: Child) -> None:
        """Lend a child the ports it is owed, as far as its queue takes them; then tell it that it has them all."""
        if child.process is None or not child.begun or child.name == API:
            return
        while child.owed:
            sockets = self._sockets.get(child.owed[0])
            if sockets is not None and not self._lend(child, sockets):
                return
            del child.owed[0]
        child.told = child.told or child.send({"type": "ports_sent"})

    def _lend(self, child: Child, sockets: PortSockets) -> bool:
        index, assigned, ifindex = sockets.key
        generation = self._configuration.sequence
        message = {"type": "port", "port": index, "assigned": assigned, "ifindex": ifindex, "generation": generation}
        if child.name == AGENT:
            return child.send(message, {"igmp": sockets.igmp.fileno()})
        layout = sockets.layout
        sizes = asdict(layout)
        ring = sockets.rings[child.arguments["index"]]
        return child.send({**message, **sizes}, {"ring": ring.fileno(), "transmit": sockets.transmit.fileno()})

    # children

    def _fill(self, child: Child) -> None:
        process = None
        if child.module == WORKER_MODULE:
            process, self._spare = self._spare, None
        process = process or Process.start(child.module, os.getpid(), child.nice)
        child.adopt(process)
        if child.name != API:
            self._begin(child)
        self._selector.register(process.channel, selectors.EVENT_READ, lambda: self._hear(child, process))
        self._publish_processes()

    def _begin(self, child: Child) -> None:
        """Tell a child what it is, and lend it the ports it needs."""
        child.begin(self._log_level)
        child.owed = list(self._sockets)
        self._pay(child)

    def _hear(self, child: Child, process: Process) -> None:
        """A child says that it is ready, or its end of the channel is gone."""
        try:
            received = control.receive(process.channel)
        except (OSError, ValueError, LookupError):  # gone, or not what our children say
            received = None
        if received is None:
            self._selector.unregister(process.channel)
        elif received[0].get("type") == "ready":
            child.ready = True

    def _keep_alive(self, child: Child, now: float) -> None:
        process = child.process
        if process is not None and child.stalled(now, self._awake_since):
            log.error("%s has been silent for %.0f s and is killed", child.name, child.silence(now, self._awake_since))
            process.popen.kill()
            process.popen.wait()
        if process is not None and child.reap(now) is not None:
            self._hang_up(process)
            self._publish_processes()
        if child.process is None and now >= child.not_before:
            self._fill(child)

    def _hang_up(self, process: Process) -> None:
        if process.channel in self._selector.get_map():
            self._selector.unregister(process.channel)
        process.channel.close()

    def _data_path_ready(self, now: float) -> bool:
        """The control socket answers once the ports of the first hour are served, or after READY_TIME anyway."""
        served = all(child.ready for child in self._served()) and not self._opener.busy
        return served or self._announced or now - self._started > READY_TIME

    def _publish_processes(self) -> None:
        rows = [
            {"name": child.name, "pid": child.process.popen.pid, "started": child.started, "restarts": child.restarts}
            for child in self._children.values()
            if child.process is not None
        ]
        own = {"name": "mcfwd", "pid": os.getpid(), "started": self._started, "restarts": 0}
        self._processes.publish({"version": version("mcfwd"), "started": self._started, "processes": [own, *rows]})
        os.eventfd_write(self._shared.wake[API], 1)

    # reload

    def _reload(self) -> None:
        """Take over a changed configuration; what did not change is not touched."""
        notify("RELOADING=1")
        try:
            settings = self._load()
            problem = _never_works(settings, self._links)
        except Exception as error:  # whatever is wrong with the file, the running configuration stays
            problem = str(error)
        if problem:
            log.error("reload refused, the running configuration stays: %s", problem)
        else:
            self._take_over(settings)
            log.info("reloaded")
        notify("READY=1")

    def _take_over(self, settings: Settings) -> None:
        taken = replace(settings, dataplane=self._settings.dataplane, control=self._settings.control)
        if taken != settings:
            log.warning("[dataplane] and [control] are fixed at start; their changes need a restart")
        self._settings = taken
        generation = self._configuration.sequence + 1
        self._publish(generation, self._assignment.update(self._settings, self._links, generation))


def _tell(former: Port | None, port: Port) -> None:
    """One log line for a change of a port's state."""
    if former is None and port.state == "missing":
        log.info("%s does not exist yet; waiting for it", port.name)
    elif former is not None and (former.state, former.ifindex) != (port.state, port.ifindex):
        log.info("%s is %s (was %s)", port.name, port.state, former.state)


