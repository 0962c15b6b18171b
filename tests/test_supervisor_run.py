"""The supervisor as it runs, over links, an opener and children of the test's: in what order, and what it answers."""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from readings import Read
from test_assignment import link
from test_staff import Popen
from test_supervisor_ports import Opener

from forwarder.packet.packet_socket import PortError
from forwarder.process import control, privileges
from forwarder.state.ports import Configuration
from forwarder.state.reasons import Reason
from forwarder.state.settings import DataplaneSettings, IgmpSettings, InterfaceSettings, Settings
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import ASSIGNED, FIRST_REASON, RX_BYTES, RX_PACKETS
from forwarder.supervisor.children import Process
from forwarder.supervisor.shared import AGENT, API
from forwarder.supervisor.supervisor import HANDLED, LONGEST_WORDS, Supervisor

needs_raw = pytest.mark.skipif(
    not privileges.has_capability(privileges.CAP_NET_RAW), reason="starting needs CAP_NET_RAW"
)
TESTS = Path(__file__).parent
WORKER = "mcfwd-worker-0"
SETTINGS = Settings(
    interface=(InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="eth1")),
    dataplane=DataplaneSettings(max_ports=4, max_flows=64, max_routes=64),
)
ROUTE = {"group": "239.1.1.1", "source": None, "upstream": "eth0", "interfaces": ["eth1"]}


class AtOnce(Opener):
    """Opens what it is asked to as soon as it is heard, but for `held`; `fault` is raised instead."""

    fault: Exception | None = None
    held = False

    def open(self, port, promiscuous, blocks) -> None:
        if self.fault:
            raise self.fault
        super().open(port, promiscuous, blocks)
        if not self.held:
            self.finish()

    def __call__(self, sizes, bell, super_frames) -> "AtOnce":
        """Their descriptors are all the bell's, which can be lent."""
        super().__call__(sizes, bell, super_frames)
        self.descriptor = bell
        return self


class Watch:
    """Links that change when the test says so, and then ring."""

    def __init__(self) -> None:
        self.links, self.fault, self.looks = {"eth0": link("eth0", 10), "eth1": link("eth1", 11)}, None, 0
        self.matters, self.ignored, self.heard = True, False, 0
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._bell

    def rang(self) -> bool:
        """As the kernel would tell of something; whether it matters is the test's to say."""
        self.heard += 1
        os.eventfd_read(self._bell)
        self.ignored = self.ignored or not self.matters
        return self.matters

    def ring(self, matters: bool = True) -> None:
        self.matters = matters
        os.eventfd_write(self._bell, 1)

    def snapshot(self) -> dict:
        self.looks += 1
        if self.fault:
            raise self.fault
        self.ignored = False
        return dict(self.links)


class Polled(Popen):
    """A child that counts how often somebody looks whether it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0

    def poll(self) -> int | None:
        self.polls += 1
        return super().poll()


class Role:
    """Who plays a child: it says what a child says."""

    def __init__(self, module: str, channel: socket.socket) -> None:
        self.module, self.channel, self.popen = module, channel, Polled()
        self.name, self.heard, self.descriptors = "", [], {}


class Life:
    """A supervisor, in the main thread; the test is played in another."""

    def __init__(self) -> None:
        self.watch, self.opener, self.roles = Watch(), AtOnce(), []
        self.settings, self.file = SETTINGS, SETTINGS
        self.silent: set[str] = set()       # those who do not say that they are ready
        self.log: list[tuple[str, str]] = []
        self.over = threading.Event()
        self.listening = socket.socket(socket.AF_UNIX)      # open for as long as it is lent
        self.supervisor = Supervisor(
            SETTINGS, lambda: Read(self.load), self.watch, self.listening, "info", self.opener, self.start
        )

    def load(self) -> Settings:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    def start(self, module: str, parent: int, nice: int) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        role = Role(module, theirs)
        self.roles.append(role)
        return Process(role.popen, ours)

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)

    def play(self) -> None:
        """All children hear what was said to them, and answer as children do."""
        for role in list(self.roles):
            with contextlib.suppress(OSError):
                while (received := control.receive(role.channel)) is not None:
                    self._hear(role, *received)

    def _hear(self, role: Role, message: dict[str, Any], descriptors: dict[str, int]) -> None:
        kind = message["type"]
        if kind == "start":
            role.name, role.descriptors = message["name"], descriptors
        else:
            for descriptor in descriptors.values():
                os.close(descriptor)
        role.heard.append(message)
        self.log.append((role.name, kind))
        if kind == "stop":
            role.popen.status = 0
        if kind == ("start" if role.name == API else "ports_sent"):
            control.send(role.channel, {"type": "here"})
            if role.name not in self.silent:
                self.say_ready(role.name)

    def close(self) -> None:
        self.listening.close()
        for role in self.roles:
            role.channel.close()
            for descriptor in role.descriptors.values():
                os.close(descriptor)

    def say_ready(self, name: str) -> None:
        self.silent.discard(name)
        self.log.append((name, "ready"))
        control.send(self.role(name).channel, {"type": "ready"})

    def until(self, condition: Callable[[], Any]) -> Any:
        """Lets all live until something holds."""
        end = time.monotonic() + 20.0
        while not (value := condition()):
            assert time.monotonic() < end
            assert not self.over.is_set()
            self.play()
            time.sleep(0.002)
        return value

    def until_complete(self) -> None:
        self.until(lambda: [role.module for role in self.roles].count("forwarder.dataplane.worker") == 2)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the API is answered: whether it was refused, and why."""
        answer = self.answer(request)
        return {key: answer[key] for key in ("refusal", "words")}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """All that the API is answered."""
        api = self.role(API)
        number = len(api.heard)
        control.send(api.channel, {**request, "id": number})
        self.until(lambda: len(api.heard) > number)
        assert (api.heard[-1]["type"], api.heard[-1]["id"]) == ("answer", number)
        return api.heard[-1]

    def published(self) -> Configuration:
        return Configuration.from_json(SnapshotReader(self.role(WORKER).descriptors["configuration"]).poll())


def live(script: Callable[[Life], None], end: int = signal.SIGTERM, life: Life | None = None) -> Life:
    """`script` while a supervisor runs that a signal ends."""
    life, failures = life or Life(), []
    former = {number: signal.getsignal(number) for number in HANDLED}

    def played() -> None:
        try:
            life.until(lambda: life.roles)
            script(life)
        except BaseException as failure:
            failures.append(failure)
        while not life.over.wait(0.01):
            if signal.getsignal(end) is not former[end]:
                os.kill(os.getpid(), end)
            life.play()

    player = threading.Thread(target=played)
    player.start()
    try:
        assert life.supervisor.run() == 0
    finally:
        life.over.set()
        player.join()
        life.close()
        signal.set_wakeup_fd(-1)
        for number, handler in former.items():
            signal.signal(number, handler)
    if failures:
        raise failures[0]
    return life


def test_the_api_begins_when_the_data_path_serves_and_a_spare_when_all_are_ready(caplog):
    caplog.set_level("INFO")

    def script(life: Life) -> None:
        life.silent = {AGENT, API}
        life.until(lambda: (WORKER, "ready") in life.log)
        life.until(lambda: (AGENT, "ports_sent") in life.log)
        looks = life.roles[0].popen.polls
        life.until(lambda: life.roles[0].popen.polls > looks + 2)       # two turns later
        assert [role.name for role in life.roles] == [WORKER, AGENT, ""]
        life.say_ready(AGENT)
        life.until(lambda: (API, "start") in life.log)
        assert len(life.roles) == 3
        assert "ready" not in " ".join(caplog.messages)
        life.say_ready(API)
        life.until_complete()
        assert caplog.messages[-1] == "ready: eth0 (upstream, up), eth1 (downstream, up)"

    live(script)


def test_the_api_does_not_begin_while_ports_are_being_opened():
    life = Life()
    life.opener.held = True

    def script(life: Life) -> None:
        life.until(lambda: {(WORKER, "ready"), (AGENT, "ready")} <= {*life.log})
        polls = life.roles[0].popen.polls
        life.until(lambda: life.roles[0].popen.polls > polls + 3)       # three turns later
        assert (API, "start") not in life.log
        life.opener.finish()
        life.until(lambda: (API, "start") in life.log)

    live(script, life=life)


def test_ports_are_lent_as_their_sockets_are_opened():
    def script(life: Life) -> None:
        life.until_complete()
        lent = [message["port"] for message in life.role(WORKER).heard if message["type"] == "port"]
        assert lent == [message["port"] for message in life.role(AGENT).heard if message["type"] == "port"] == [0, 1]
        assert life.published().generation == 1
        del life.watch.links["eth1"]
        life.watch.ring()
        life.until(lambda: life.published().ports[1].state == "missing")
        assert life.published().generation == 2
        life.watch.links["eth1"] = link("eth1", 99)
        life.watch.ring()
        for name in (WORKER, AGENT):
            life.until(lambda name=name: life.role(name).heard[-1].get("ifindex") == 99)

    live(script)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_the_agent_leaves_and_nobody_is_left(end):
    life = live(Life.until_complete, end)
    assert [message["type"] for message in life.role(AGENT).heard][-1] == "stop"
    assert all(role.popen.killed for role in life.roles)
    assert life.opener.closed == [0, 1]


def test_what_happens_to_links_is_told_and_at_the_end_what_was_carried(caplog):
    caplog.set_level("INFO")

    def script(life: Life) -> None:
        life.until_complete()
        counted = WorkerSegment(life.role(WORKER).descriptors["segment"], writable=True)
        counted.ports[0, [ASSIGNED, RX_PACKETS, RX_BYTES]] = life.published().ports[0].assigned, 12, 1200
        counted.ports[0, FIRST_REASON + Reason.TTL_EXPIRED - 1] = 3
        caplog.clear()
        life.watch.links["eth1"] = replace(life.watch.links["eth1"], up=False)
        life.watch.links["eth0"] = replace(life.watch.links["eth0"], addresses=((0x0A000002, 24),), mtu=1400)
        life.watch.ring()
        life.until(lambda: life.published().ports[1].state == "down")

    live(script)
    assert caplog.messages[:-1] == [
        "eth0: addresses 10.0.0.2/24 (were 10.0.0.1/24); MTU 1400 (was 1500)",
        "eth1 is down (was up)",
        "stopping: SIGTERM",
        "eth0: received 12 packets (1.2 KiB), sent 0 (0 B), dropped ttl_expired 3",
        "eth1: received 0 packets (0 B), sent 0 (0 B), dropped none",
    ]
    assert caplog.messages[-1].startswith("stopped after ")


def test_changes_are_made_or_refused_in_words():
    def script(life: Life) -> None:
        life.until_complete()
        done = {"refusal": None, "words": ""}
        assert life.ask({"type": "add", "noun": "routes", "row": ROUTE}) == done
        assert [route.group for route in life.published().routes] == ["239.1.1.1"]
        assert life.published().generation == 2
        refused = life.ask({"type": "add", "noun": "routes", "row": ROUTE})
        assert refused["refusal"] == "exists"
        assert refused["words"].startswith("route 239.1.1.1 from eth0 exists already")
        assert life.ask({"type": "delete", "noun": "routes", "row": ROUTE}) == done
        assert life.published().routes == ()
        assert life.ask({"type": "odd"})["refusal"] == "invalid"

    live(script)


def test_a_fault_is_answered_too_and_ends_nothing(caplog):
    def script(life: Life) -> None:
        life.until_complete()
        life.opener.fault = LookupError("odd")
        life.watch.links["eth1"] = link("eth1", 99)
        answer = life.ask({"type": "add", "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.1"}})
        assert answer == {"refusal": None, "words": ""}
        life.watch.ring()
        life.until(lambda: any("looking at the links: LookupError" in message for message in caplog.messages))
        answer = life.ask({"type": "add", "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.2"}})
        assert answer == {"refusal": "fault", "words": "internal error: LookupError"}
        assert any("failed while answering a request: LookupError: odd" in message for message in caplog.messages)
        life.opener.fault = None
        answer = life.ask({"type": "add", "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.3"}})
        assert answer == {"refusal": None, "words": ""}

    live(script)


def test_more_than_can_be_published_is_refused():
    def script(life: Life) -> None:
        life.until_complete()
        groups = tuple(f"239.{at >> 16}.{at >> 8 & 255}.{at & 255}" for at in range(300_000))
        entry = InterfaceSettings(name="eth1", static_groups=groups)
        life.file = replace(SETTINGS, interface=(SETTINGS.interface[0], entry))
        assert life.ask({"type": "reload"})["refusal"] == "full"
        assert life.published().settings == SETTINGS

    live(script)


def test_a_reload_takes_over_what_is_not_fixed_and_keeps_what_was_added(caplog):
    caplog.set_level("INFO")
    sizes = replace(SETTINGS.dataplane, max_routes=SETTINGS.dataplane.max_routes + 1, flow_limit=7)
    other = replace(SETTINGS, igmp=IgmpSettings(robustness=3), dataplane=sizes)

    def script(life: Life) -> None:
        life.until_complete()
        life.ask({"type": "add", "noun": "routes", "row": ROUTE})
        life.file = other
        os.kill(os.getpid(), signal.SIGHUP)
        life.until(lambda: life.published().settings.igmp.robustness == 3)
        life.until(lambda: any(each.startswith("reloaded") for each in caplog.messages))
        assert life.published().settings == replace(other, dataplane=replace(SETTINGS.dataplane, flow_limit=7))
        assert [route.group for route in life.published().routes] == ["239.1.1.1"]
        said = [each for each in caplog.messages if each.startswith("reload")]
        assert said == [
            "reload: igmp.robustness is 3, was 2",
            f"reload: dataplane.flow_limit is 7, was {SETTINGS.dataplane.flow_limit}",
            "reload: not taken over: dataplane.max_routes; sizes of what all processes share, [control] and [process] "
            "are fixed at start; their changes need a restart",
            f"reloaded, configuration {life.published().generation}",
        ]
        assert life.answer({"type": "reload"})["ignored"] == ["dataplane.max_routes"]
        life.file = SETTINGS
        assert life.answer({"type": "reload"})["ignored"] == []
        assert life.published().settings == SETTINGS

    live(script)


def test_a_reload_that_names_more_than_there_is_room_for_is_refused_in_words(caplog):
    silent = replace(SETTINGS, dataplane=replace(SETTINGS.dataplane, max_ports=None))
    lans = tuple(InterfaceSettings(name=f"lan{number}") for number in range(4))

    def script(life: Life) -> None:
        life.until_complete()
        life.file = silent
        assert life.ask({"type": "reload"}) == {"refusal": None, "words": ""}
        assert not [each for each in caplog.messages if "fixed at start" in each]
        life.file = replace(silent, interface=(*SETTINGS.interface, *lans))
        assert life.ask({"type": "reload"})["words"] == (
            f"dataplane.max_ports, fixed at start: 4 is less than the {len(SETTINGS.interface) + 4} interfaces named; "
            "restart to change it"
        )
        assert life.published().settings == SETTINGS

    live(script)


def test_a_reload_that_cannot_run_leaves_everything_as_it_was(caplog):
    def script(life: Life) -> None:
        life.until_complete()
        life.file = ValueError("igmp.robustness: is 0")
        os.kill(os.getpid(), signal.SIGHUP)
        life.until(lambda: caplog.messages)
        assert caplog.messages == ["reload refused, the running configuration stays: igmp.robustness: is 0"]
        assert life.ask({"type": "reload"}) == {"refusal": "configuration", "words": "igmp.robustness: is 0"}
        assert caplog.messages == ["reload refused, the running configuration stays: igmp.robustness: is 0"] * 2
        life.file = ValueError("x" * 10_000)
        assert life.ask({"type": "reload"})["words"] == "x" * LONGEST_WORDS
        life.watch.links["lo"] = link("lo", 1, loopback=True)
        looks = life.watch.looks
        life.watch.ring()
        life.until(lambda: life.watch.looks > looks)
        life.file = replace(SETTINGS, interface=(*SETTINGS.interface, InterfaceSettings(name="lo")))
        assert "lo is a loopback interface" in life.ask({"type": "reload"})["words"]
        life.file = replace(SETTINGS, interface=(*SETTINGS.interface, InterfaceSettings(name="lo", role="disabled")))
        assert life.ask({"type": "reload"})["refusal"] is None
        assert LONGEST_WORDS == 4096

    live(script)


def test_what_does_not_matter_leads_to_no_look():
    def script(life: Life) -> None:
        life.until_complete()
        looks = life.watch.looks
        for count in range(16):
            life.watch.ring(matters=False)
            life.until(lambda count=count: life.watch.heard > count)
        assert life.ask({"type": "odd"})["refusal"] == "invalid"    # some turns later
        assert life.watch.looks == looks
        del life.watch.links["eth1"]
        life.watch.ring()
        life.until(lambda: life.published().ports[1].state == "missing")
        assert life.watch.looks == looks + 1

    live(script)


def test_a_reload_sees_links_that_did_not_matter_until_now_and_looks_only_for_those():
    def script(life: Life) -> None:
        def told_of_others() -> None:
            heard = life.watch.heard
            life.watch.ring(matters=False)
            life.until(lambda: life.watch.heard > heard)

        life.until_complete()
        looks = life.watch.looks
        life.file = replace(SETTINGS, interface=(*SETTINGS.interface, InterfaceSettings(name="tun*")))
        life.ask({"type": "reload"})    # of other names, but nothing has changed
        told_of_others()
        life.file = SETTINGS
        life.ask({"type": "reload"})    # something has changed, but of no name that is new
        assert life.watch.looks == looks
        told_of_others()
        life.watch.links |= {"tap0": link("tap0", 12), "lo": link("lo", 1, loopback=True)}
        life.file = replace(SETTINGS, interface=(*SETTINGS.interface, InterfaceSettings(name="tap*")))
        assert life.ask({"type": "reload"}) == {"refusal": None, "words": ""}
        assert [port.ifindex for port in life.published().ports] == [10, 11, 12]
        assert life.watch.looks == looks + 1
        life.file = replace(SETTINGS, interface=(*SETTINGS.interface, InterfaceSettings(name="lo")))
        assert "lo is a loopback interface" in life.ask({"type": "reload"})["words"]

    live(script)


def test_links_that_cannot_be_seen_are_looked_at_again_in_a_while(caplog):
    """Twice: after a second and two. Nobody turns in between."""

    def script(life: Life) -> None:
        life.silent = {API}
        life.until(lambda: (WORKER, "ready") in life.log)
        life.watch.fault = OSError(105, "No buffer space available")
        looks, polls = life.watch.looks, life.roles[0].popen.polls
        life.watch.ring()
        life.until(lambda: life.watch.looks == looks + 2)
        del life.watch.links["eth1"]
        life.watch.fault = None
        life.until(lambda: life.published().ports[1].state == "missing")
        assert life.watch.looks == looks + 3
        assert life.roles[0].popen.polls - polls < 200

    live(script)


TOLD = """
import os, signal
from dataclasses import replace
from test_supervisor_run import SETTINGS, live
from forwarder.state.settings import IgmpSettings
def script(life):
    life.until_complete()
    life.file = replace(SETTINGS, igmp=IgmpSettings(robustness=3))
    os.kill(os.getpid(), signal.SIGHUP)
    life.until(lambda: life.published().settings.igmp.robustness == 3)
live(script)
"""


def test_the_service_manager_is_told_when_we_are_ready_reload_and_end(tmp_path):
    places = [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    around = {**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/manager", "PYTHONPATH": os.pathsep.join(places)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/manager")
        manager.setblocking(False)
        subprocess.run([sys.executable, "-c", TOLD], env=around, check=True, timeout=60.0)
        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(manager.recv(100))
    states = [b"READY=1", b"RELOADING=1", b"READY=1", b"STOPPING=1"]
    assert [each for each in told if not each.startswith(b"STATUS=")] == states
    assert [each for each in told if each not in states][-1] == b"STATUS=2 of 2 interfaces served"


# --- what a process does first ---

LIMIT = """
import resource
from forwarder.supervisor import supervisor
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
supervisor._raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


def test_as_many_descriptors_as_we_may_have():
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 100
    done = subprocess.run([sys.executable, "-c", LIMIT], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


UNPRIVILEGED = """
import sys
from forwarder.process import privileges
privileges.keep_only(None)
sys.argv = ["mcfwd", "run", "-u", "eth0", "-d", "eth1", "--socket", sys.argv[1]]
from forwarder.command.main import main
main()
"""


def test_without_its_capability_it_says_what_is_missing(tmp_path):
    command = [sys.executable, "-c", UNPRIVILEGED, f"{tmp_path}/s"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 77
    assert "mcfwd ERROR CAP_NET_RAW is missing. Grant it: run as root" in done.stderr
    assert not os.path.exists(f"{tmp_path}/s")


REFUSED = """
import socket, sys
from forwarder.process.user import Children
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor import supervisor
name, path = sys.argv[1:]
settings = Settings(interface=(InterfaceSettings(name=name, role="upstream"), InterfaceSettings(name="eth1")))
with socket.socket(socket.AF_UNIX) as other:
    other.bind(path)
    other.listen()
    sys.exit(supervisor.run(settings, lambda: settings, path, "info", lambda: Children(None, "no reason", False)))
"""


@needs_raw
@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("lo", 69, "lo"), ("eth0", 73, "control socket {path}: another instance answers there")],
)
def test_what_it_cannot_start_with_is_said_and_the_status_tells_which(tmp_path, name, status, words):
    path = f"{tmp_path}/s"
    done = subprocess.run([sys.executable, "-c", REFUSED, name, path], capture_output=True, text=True, timeout=60.0)
    assert done.returncode == status
    [line] = done.stderr.splitlines()
    assert "mcfwd ERROR" in line
    assert words.format(path=path) in line
    assert os.path.exists(path)


def test_sockets_that_were_refused_are_opened_a_second_later():
    life = Life()
    life.opener.refusals["eth1"] = PortError("receive ring", "socket", "eth1", errno.EMFILE)

    def script(life: Life) -> None:
        served = life.supervisor._ports.describe
        ports = life.until(lambda: life.supervisor._ports.ports)
        life.until(lambda: "degraded" in served(ports[1]) and not life.supervisor._ports.opening)
        del life.opener.refusals["eth1"]
        life.until(lambda: "degraded" not in served(ports[1]))

    live(script, life=life)
