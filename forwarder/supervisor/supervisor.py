"""The supervisor's loop: links, signals and requests in; ports, children and answers out.

One poll loop without threads of its own (ports are opened beside it). State that matters is in the shared segments:
what a child must know to take over where another stopped is published, not kept here.
"""

import gc
import logging
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from setproctitle import setproctitle

from forwarder.config import rules
from forwarder.process import access, logs, memory, privileges, signals
from forwarder.process.user import Children
from forwarder.state.ports import Added
from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.supervisor import changes, differences, listener, refusals, statistics
from forwarder.supervisor.capacity import fitted
from forwarder.supervisor.children import Process
from forwarder.supervisor.equipment import MakeOpener
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.link_watch import LinkWatch, open_bell
from forwarder.supervisor.links import KernelLink, obstacle
from forwarder.supervisor.looks import Looks
from forwarder.supervisor.memory_limit import MemoryLimit
from forwarder.supervisor.notify import notify
from forwarder.supervisor.opener import PortOpener
from forwarder.supervisor.ports import Ports
from forwarder.supervisor.reloads import Reloads, Reply, Underway, refused
from forwarder.supervisor.shared import Shared
from forwarder.supervisor.staff import Staff, Starter
from forwarder.supervisor.thrift import Thrift
from forwarder.units import duration

log = logging.getLogger(__name__)

EXIT_UNAVAILABLE, EXIT_CANNOT_CREATE, EXIT_NO_PERMISSION = 69, 73, 77
TICK, BUSY_TICK = 1.0, 0.2
BREATH = 0.05   # seconds: what failed with something that is readable finds it readable again
WAKING = 4096   # octets: more than such a socket holds of single ones
LONGEST_WORDS = 4096    # characters of a refusal: six octets each at most, so that an answer fits its message
READY_TIME = 5.0
NAMED = 64              # ports in a line of the log
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def run(
    settings: Settings, read: Callable[[], Underway], socket_path: str, log_level: str, choose: Callable[[], Children],
    log_format: str = "text", file: str | None = None, notices: Sequence[str] = (),
) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status of `mcfwd run`. `choose` says who the children are.

    `read` begins to read the configuration again; `file` is what it reads, if it reads one, and
    `notices` what to know of that.
    """
    signals.end_by_exit()
    logs.configure(log_level, "mcfwd", log_format)
    if not privileges.has_capability(privileges.CAP_NET_RAW):
        log.error("CAP_NET_RAW is missing. Grant it: run as root, `docker run --cap-add NET_RAW`, systemd "
                  "`AmbientCapabilities=CAP_NET_RAW`, or `setpriv --ambient-caps +net_raw --inh-caps +net_raw`")
        return EXIT_NO_PERMISSION
    try:
        watch = LinkWatch(open_bell())
        links = watch.snapshot()
    except OSError as error:
        log.error("cannot see the links of this system: %s", error)
        return EXIT_UNAVAILABLE
    if problem := _never_works(settings, links):
        log.error("%s", problem)
        return EXIT_UNAVAILABLE
    children = choose()     # before there is a socket: it may take a while
    try:
        control = settings.control
        listening = listener.claim(socket_path, int(control.socket_mode, 8), control.socket_group)
    except (listener.SocketInUse, OSError) as error:
        reason = "another instance answers there" if isinstance(error, listener.SocketInUse) else error.strerror
        log.error("control socket %s: %s", socket_path, reason)
        return EXIT_CANNOT_CREATE
    try:
        log.info("mcfwd %s starts with %s, control socket %s, profile %s, workers: %d", version("mcfwd"),
                 file or "the command line", socket_path, settings.dataplane.profile, settings.dataplane.workers)
        for words in notices:
            log.warning("%s", words)
        _give_up_privileges(children)
        if file and (reason := access.refusal(file)):
            log.warning("%s", access.warning(file, reason))
        logs.detach()
        _raise_descriptor_limit()
        setproctitle("mcfwd")
        memory.trim()
        gc.freeze()     # what is loaded stays: walking over it again took 30 ms of every few reloads
        return Supervisor(fitted(settings, links), read, watch, listening, log_level, kept=children.reason,
                          log_format=log_format, thrift=Thrift(MemoryLimit())).run()  # fmt: skip
    except OSError as error:    # before its loop runs: descriptors, memory or threads that are not to be had
        log.error("cannot start: %s", refusals.remedied(str(error), error.errno))
        return EXIT_UNAVAILABLE
    finally:
        listener.release(listening, socket_path)


def _give_up_privileges(children: Children) -> None:
    """Once and for good: the children's user becomes our real one, CAP_NET_RAW stays, nothing else does."""
    if children.user is not None:
        privileges.lend(children.user.uid, children.user.gid)
    privileges.keep_only(privileges.CAP_NET_RAW)
    missed = children.user is None and children.wanted and os.getuid() == 0
    log.log(logging.WARNING if missed else logging.INFO, "%s", children.words)


def _raise_descriptor_limit() -> None:
    """Three sockets a port, in us and on their way to the children: as many as we may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _never_works(settings: Settings, links: dict[str, KernelLink]) -> str | None:
    named = (links.get(interface.name) for interface in settings.interface if interface.role != "disabled")
    return next((problem for link in named if link and (problem := obstacle(link))), None)


def _served(settings: Settings) -> set[str]:
    """The names and wildcards of links that matter."""
    return {each.name for each in settings.interface if each.role != "disabled"}


def named(ports: Sequence[str]) -> str:
    """Ports in a line of the log; the rest of many is counted."""
    more = [f"{len(ports) - NAMED} more"] if len(ports) > NAMED else []
    return ", ".join([*ports[:NAMED], *more])


def _never_fits(settings: Settings) -> str | None:
    """Why not every interface could have a port, or a ring, in what is fixed at start."""
    problems = [*rules.of_ports(settings), *rules.of_memory(settings)]
    return next((f"{key}, fixed at start: {problem}; restart to change it" for key, problem in problems), None)


def _in_words_of(former: DataplaneSettings, new: DataplaneSettings) -> DataplaneSettings:
    """What a file says of sizes, where it says nothing as what there is: that is no change."""
    return replace(new, max_ports=former.max_ports) if new.max_ports is None else new


class Supervisor:
    """See the module; `run` is its life."""

    def __init__(
        self, settings: Settings, read: Callable[[], Underway], watch: LinkWatch, listening: socket.socket,
        log_level: str, opener: MakeOpener = PortOpener, starter: Starter = Process.start, kept: str | None = None,
        log_format: str = "text", thrift: Thrift | None = None,
    ) -> None:
        """`kept`: why the children are no other user than we, if they are not; `thrift`: None without a limit."""
        self._watch = watch
        shared = Shared(settings.dataplane)
        self._ports = Ports(settings, shared, watch, opener)
        self._selector = selectors.DefaultSelector()
        self._guard = Guard(time.monotonic)
        self._staff = Staff(
            shared, self._ports, listening.fileno(), self._selector, log_level, self._answer, self._guard, starter,
            kept=kept, log_format=log_format, thrift=thrift,
        )
        self._reloads = Reloads(read, self._take_over, self._guard.failed, self._selector, time.monotonic)
        self._looks = Looks(self._guard, watch.rang, self._ports.refresh)
        self._started = time.monotonic()
        self._announced = False
        self._shared = shared
        self._told = 0
        self._stopping = False
        self._came: set[int] = set()

    def run(self) -> int:
        """Until a signal says stop."""
        signals = self._catch_signals()
        turns = ((self._watch, "hearing of links", lambda: self._looks.hear(time.monotonic())),
                 (self._ports, "taking opened sockets", self._ports_opened),
                 (signals, "following a signal", self._signalled))  # fmt: skip
        for source, doing, turn in turns:
            self._selector.register(source, selectors.EVENT_READ, (doing, turn))
        self._staff.start()
        self._looks.look(time.monotonic())
        while not self._stopping:
            self._turn()
        notify("STOPPING=1")
        self._guard.take("ending a reload", self._reloads.close)
        self._guard.take("ending the children", self._staff.stop)
        self._guard.take("saying what was carried", self._say_farewell)
        self._guard.take("closing sockets", self._ports.close)
        return 0

    def _say_farewell(self) -> None:
        for name, words in statistics.final(self._ports.ports, self._shared.workers):
            log.info("%s: %s", name, words)
        log.info("stopped after %s", duration(time.monotonic() - self._started))

    def _turn(self) -> None:
        """What has come since the last one, and what time brings; after a fault no sooner again than in BREATH."""
        faults = self._guard.faults
        longest = TICK if self._staff.has_spare else BUSY_TICK
        for key, _ in self._selector.select(self._looks.wait(time.monotonic(), longest)):
            self._guard.take(*key.data)
        self._tick(time.monotonic())
        if self._guard.faults != faults:
            time.sleep(BREATH)

    def _catch_signals(self) -> socket.socket:
        """Which signals came is kept here; the socket only wakes, and may be full after a thousand of them."""
        self._signals, self._wakeup_end = socket.socketpair()
        for end in (self._signals, self._wakeup_end):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda number, _: self._came.add(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)     # of which SIGHUP may have come already
        return self._signals

    def _signalled(self) -> None:
        """Signals that came meanwhile count as one of each kind, as they do for the kernel."""
        self._signals.recv(WAKING)
        came, self._came = self._came, set()
        if ending := came & {signal.SIGTERM, signal.SIGINT}:
            log.info("stopping: %s", signal.Signals(min(ending)).name)
            self._stopping = True
        if signal.SIGHUP in came and not self._stopping:
            self._reload()

    def _ports_opened(self) -> None:
        for index in self._ports.opened():
            self._staff.owe(index)
        for index, worker in self._ports.replaced():
            self._staff.owe(index, worker)
        for index in self._ports.resized():
            self._staff.owe_rings(index)

    def _tick(self, now: float) -> None:
        take = self._guard.take
        self._looks.turn(now)
        self._staff.keep(now)
        take("waiting for a configuration", self._reloads.turn)
        take("opening sockets again", lambda: self._ports.retry(now))
        take("replacing deaf rings", lambda: self._ports.replace_deaf(now))
        take("looking for other forwarders", lambda: self._ports.look_around(now))
        if self._data_path_ready(now):
            take("starting the API", self._staff.open_doors)
        if not self._announced and self._staff.complete:
            self._announced = True
            log.info("ready: %s", named([*map(self._ports.describe, self._ports.ports)]))
            notify("READY=1")
        if self._announced:
            take("keeping a spare worker", lambda: self._staff.keep_spare(now))
            self._tell_status()

    def _tell_status(self) -> None:
        """Tell the service manager which ports are served and which are not, when it changes."""
        if self._told != self._ports.changed:
            self._told = self._ports.changed
            notify(f"STATUS={self._ports.summary()}")

    def _data_path_ready(self, now: float) -> bool:
        """The control socket answers once the ports of the first hour are served, or after READY_TIME anyway."""
        served = self._staff.serves() and not self._ports.opening
        return served or self._announced or now - self._started > READY_TIME

    # what is asked of us while we run

    def _answer(self, request: dict[str, Any], reply: Reply) -> None:
        """A request of the API process is answered: `refusal` is None when it was done."""
        answer = {"type": "answer", "id": request.get("id"), "refusal": None, "words": ""}

        def tell(outcome: dict[str, Any]) -> None:
            reply({**answer, **outcome, "words": outcome.get("words", "")[:LONGEST_WORDS]})

        if request.get("type") == "reload":
            self._reloads.ask(tell)
        else:
            tell(self._outcome(request))

    def _outcome(self, request: dict[str, Any]) -> dict[str, Any]:
        """What comes of a change while we run."""
        settings = self._ports.settings
        try:
            self._configure(settings, changes.apply(request, self._ports.added, settings))
        except changes.ChangeError as error:
            return {**refused(str(error), error.reason), "operation": error.operation}
        except Exception as fault:
            self._guard.failed("answering a request", fault)
            return refused(f"internal error: {type(fault).__name__}", changes.Cause.FAULT)
        log.info("%s", changes.describe(request))
        return {}

    def _reload(self) -> None:
        """SIGHUP: as a request, but nobody waits for the answer."""
        notify("RELOADING=1")
        self._reloads.ask(lambda _: notify("READY=1"))

    def _take_over(self, settings: Settings) -> list[str]:
        """Take over a changed configuration; the keys of it that need a restart. ChangeError when it cannot run.

        What did not change is not touched.
        """
        former = self._ports.settings
        settings = replace(settings, dataplane=_in_words_of(former.dataplane, settings.dataplane))
        if self._watch.ignored and not _served(settings) <= _served(former):
            self._looks.look(time.monotonic())  # what did not matter until now may matter
        taken = differences.taken(former, settings)
        if problem := _never_works(settings, self._ports.links) or _never_fits(taken):
            raise changes.ChangeError(changes.Cause.CONFIGURATION, problem)
        ended = changes.ended_by(taken, self._ports.added)
        self._configure(taken, changes.still_added(self._ports.added, taken), reloaded=True)
        self._staff.restaff(taken.dataplane)
        if ended:
            log.warning("static groups without a source ended, since ssm_range covers them now: %s", named(ended))
        return self._say_taken(former, settings)

    def _say_taken(self, former: Settings, settings: Settings) -> list[str]:
        """What is another now in the log; what needs a restart there and as the answer."""
        ignored, changed = differences.ignored(former, settings), differences.differences(former, settings)
        for difference in changed[:NAMED]:
            log.info("reload: %s", difference.words)
        if len(changed) > NAMED:
            log.info("reload: %d more changes", len(changed) - NAMED)
        if ignored:
            log.warning("reload: not taken over: %s; sizes of what all processes share, [control] and [process] are "
                        "fixed at start; their changes need a restart", ", ".join(ignored))
        # with a number each is an event of its own: of ten that are alike in a minute the next would only be counted
        log.info("reloaded, configuration %s", str(self._ports.generation))
        return ignored

    def _configure(self, settings: Settings, added: Added, *, reloaded: bool = False) -> None:
        try:
            self._ports.configure(settings, added, reloaded=reloaded)
        except ValueError as error:     # more than the snapshot holds; what was before still stands in it
            raise changes.ChangeError(changes.Cause.FULL, str(error)) from error
