"""One mcfwd whose supervisor is refused calls while links come, children die and its configuration is read again.

One link carries a numbered stream to a kernel receiver all the time; each case adds a link that was not there.
"""

import http.client
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from netns.frames import Member

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for
from forwarder.supervisor.children import SHORT_LIFE
from refusals.page import ALWAYS, Page

GROUP = "239.8.8.8"
RATE = 200
WORKER, AGENT, API, SPARE = "mcfwd-worker-0", "mcfwd-agent", "mcfwd-api", "mcfwd-worker-sp"     # comm has 15 octets
ROLES = {"mcfwd", WORKER, AGENT, API}
CONFIGURATION = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down*"
[[interface]]
name = "hot*"
[igmp]
query_interval = 2.0
query_response_interval = 0.5
startup_query_interval = 0.4
"""
SOON = 60.0     # seconds until all must have settled on a busy machine
HELD = 2.0      # seconds for which calls are refused that are refused for a while


@dataclass(frozen=True)
class Case:
    """What is refused, once or for HELD seconds, which child is killed before it, and which at the first refusal.

    `fault`: the supervisor counts it as a fault of its own; else it knows what to make of it. `made`: whether it makes
    such calls at all once it is ready.
    """

    calls: tuple[str, ...]
    error: int
    once: bool
    first: str
    victim: str = ""
    fault: bool = False
    made: bool = True

    def __str__(self) -> str:
        often = "once" if self.once else f"for {HELD:g} s"
        also = f", {self.victim} at it" if self.victim else ""
        return f"{' '.join(self.calls)} {often}: {os.strerror(self.error)} ({self.first} killed{also})"


class Rig:
    """See the module; `patient`: children that are killed have lived, so that nobody is backed off for long."""

    def __init__(self, directory: Path, patient: bool = False) -> None:
        self._directory, self._patient, self._numbers = directory, patient, itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> "Rig":
        with ExitStack() as stack:
            self.lab = stack.enter_context(Lab(1))
            self.page, self.file = Page(self._directory), self._directory / "mcfwd.toml"
            self.file.write_text(CONFIGURATION)
            options = {"environment": self.page.environment, "timeout": 2 * SOON}
            self.mcfwd = stack.enter_context(Mcfwd(self.lab.router, "-c", str(self.file), **options))
            self.receiver = stack.enter_context(Receiver(self.lab.receivers[0], GROUP))
            stack.enter_context(Sender(self.lab.source, GROUP, rate=RATE))
            self.receiver.wait_received(RATE // 10, SOON)
            wait_for(self.complete, SOON, "everybody")
            self.page.watch(self.mcfwd.process.pid)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if value is not None:
            value.add_note(f"mcfwd's log:\n{self.mcfwd.read_log()}")
        self._stack.close()

    def attack(self, case: Case) -> int:
        """Refuse what the case says while all happens that makes calls, and see all recover; how often it was refused.

        AssertionError, TimeoutError, or RuntimeError where the supervisor has ended.
        """
        wait_for(lambda: not self._patient or self._rested(case), SOON, "children that have lived")
        faults, victim = self.faults(), self.pid(case.victim) if case.victim else 0
        self.page.refuse(case.calls, case.error, 1 if case.once else ALWAYS, victim)
        try:
            with self.plugged() as far, self._asking():
                self.mcfwd.process.send_signal(signal.SIGHUP)
                first = self.kill(case.first)
                self._hold(case)
                self.page.allow()
                self.assert_recovered(far, {first, victim} if self.page.refused(*case.calls) else {first})
        finally:
            self.page.allow()
        assert not case.fault or self.faults() > faults or not self.page.refused(*case.calls)
        return self.page.refused(*case.calls)

    def assert_recovered(self, far: "Plugged", gone: Collection[int] = ()) -> None:
        """Others than those who are gone run, both streams flow, both ways to reload do; TimeoutError."""
        wait_for(lambda: self.complete(gone), SOON, "all roles, and a spare")
        with Member(far.namespace, GROUP) as member:
            wait_for(lambda: quietly(lambda: self.mcfwd.group(far.name, GROUP)), SOON, f"{far.name} served")
            assert len(member.receive(20, SOON)) == 20
        self.receiver.wait_received(self.receiver.report().total("received") + RATE // 10, SOON)
        said = self.reloads()
        status, answer = self.mcfwd.request("POST", "/v1/reload", {})
        assert status == 201, answer
        self.mcfwd.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.reloads() >= said + 2, SOON, "both reloads")
        assert "Traceback" not in self.mcfwd.read_log()

    def complete(self, gone: Collection[int] = ()) -> bool:
        """Whether the same supervisor has all its children, alive, and a spare; RuntimeError when it has ended.

        `gone` are some who were killed: it may not know that yet.
        """
        if self.mcfwd.process.poll() is not None:
            raise RuntimeError(f"the supervisor ended with {self.mcfwd.process.returncode}")
        rows, alive = self._rows(), {pid: name for pid, name in self.mcfwd.children().items() if pid not in gone}
        return rows.keys() == ROLES and SPARE in alive.values() and all(
            row["pid"] in alive and row["heartbeat"] is not None and row["heartbeat"] < min(3.0, row["uptime"])
            for name, row in rows.items() if name != "mcfwd"
        )  # fmt: skip

    def assert_nothing_is_left(self, descriptors: int) -> None:
        """Every child was heard to be ready, or no spare would come; no descriptor is lost; it ends as it should."""
        wait_for(lambda: self.descriptors() <= descriptors, SOON, f"{descriptors} descriptors")
        spare, worker = self.pid(SPARE), self.kill(WORKER)
        wait_for(lambda: self._named(SPARE) not in (None, spare) and self.complete([worker]), SOON, "another spare")
        assert self.mcfwd.stop() == 0

    def descriptors(self) -> int:
        """How many the supervisor has open."""
        return len(os.listdir(f"/proc/{self.mcfwd.process.pid}/fd"))

    def faults(self) -> int:
        """What the supervisor has counted."""
        return int(self.mcfwd.show("stats")["faults"])

    def pid(self, name: str) -> int:
        """Of a child by its name, as soon as there is one: the API need not answer for it."""
        return wait_for(lambda: self._named(name), SOON, name)

    def kill(self, name: str) -> int:
        """Kills a child; the process id it had."""
        os.kill(pid := self.pid(name), signal.SIGKILL)
        return pid

    def _named(self, name: str) -> int | None:
        return next((pid for pid, comm in self.mcfwd.children().items() if comm == name), None)

    def _rows(self) -> dict[str, Any]:
        stats = quietly(lambda: self.mcfwd.show("stats"))
        return {row["name"]: row for row in stats["processes"]} if stats else {}

    def _rested(self, case: Case) -> bool:
        rows = self._rows()
        return all(rows[name]["uptime"] > SHORT_LIFE for name in (case.first, case.victim) if name in rows)

    def _hold(self, case: Case) -> None:
        """For HELD seconds, or until it was refused where once is enough; on a busy machine a call may come later."""
        begun = time.monotonic()

        def long_enough() -> bool:
            refused, held = self.page.refused(*case.calls), time.monotonic() - begun > HELD
            return held if not case.made else refused > 0 and (held or case.once)

        wait_for(long_enough, SOON, "a call")

    def plugged(self) -> "Plugged":
        """A link that was not there before, and the namespace behind it."""
        return Plugged(self.lab.router, next(self._numbers))

    def _asking(self) -> "Asking":
        return Asking(lambda: self.mcfwd.request("POST", "/v1/reload", {}, timeout=HELD))

    def reloads(self) -> int:
        """How often a configuration was taken over."""
        return self.mcfwd.read_log().count("reloaded")


class Plugged:
    """A link of the router that was not there before, up, and the namespace behind it."""

    def __init__(self, router: Namespace, number: int) -> None:
        self.name, self._router, self._network = f"hot{number}", router, f"172.20.{number}"
        self.namespace = Namespace(f"behind {self.name}")

    def __enter__(self) -> "Plugged":
        far, ends = self.namespace, ((self._router, self.name, 1), (self.namespace, LINK, 11))
        links.veth(self._router, self.name, far, LINK)
        for namespace, name, host in ends:
            links.add_address(namespace, name, f"{self._network}.{host}/24")
            links.up(namespace, name)
        links.wait_up(far, LINK)
        links.add_default_route(far, f"{self._network}.1")
        return self

    def __exit__(self, *_: object) -> None:
        links.delete(self._router, self.name)
        self.namespace.close()


class Asking(threading.Thread):
    """A request beside everything else, whatever comes of it."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(target=quietly, args=(ask,))

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.join()


def quietly(ask: Callable[[], Any]) -> Any:
    """The answer, None where there is none now."""
    with suppress(OSError, RuntimeError, http.client.HTTPException):
        return ask()
    return None
