"""The demonstration: a source, mcfwd, and three receivers that join and leave; a verdict at the end.

    receiver0  IGMPv2                  239.1.1.1
    receiver1  IGMPv3, any source      239.1.1.1
    receiver2  IGMPv3, source-specific (10.0.0.1, 232.1.1.1)

The source also sends 239.2.2.2, which nobody wants and nobody must get. Exit code 0 when every receiver got what it
joined, unaltered and only while it was a member; 1 otherwise; 77 when the machine allows no namespaces.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from forwarder.lab.capture import IGMP, UDP, Capture, reported_groups
from forwarder.lab.demo_view import Moment, Row, new_view
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Report, Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from forwarder.lab.verdict import Account, complaints, leave_delay

GROUP, CHANNEL, UNWANTED = "239.1.1.1", "232.1.1.1", "239.2.2.2"
RATE = 500.0  # datagrams a second of each group
STEP = 0.25  # seconds between two looks
SCRIPT = (
    (1.5, "join", 0),
    (3.0, "join", 1),
    (4.5, "join", 2),
    (9.0, "leave", 0),
    (10.0, "leave", 1),
    (11.0, "leave", 2),
)
END = 15.0  # seconds; longer after the last leave than verdict.LEAVE_LIMIT
NO_NAMESPACES = 77


@dataclass
class Viewer:
    """One receiver of the demo: what it is to join, and what has come of it."""

    number: int
    label: str
    version: int
    group: str
    source: str
    receiver: Receiver
    capture: Capture
    joined: float = 0.0
    left: float = 0.0
    counts: list[tuple[float, int]] = field(default_factory=list)

    def obey(self, verb: str) -> str:
        """Joins or leaves; tells it in words."""
        wanted = f"({self.source}, {self.group})" if self.source else self.group
        if verb == "join":
            self.joined = self.receiver.join(self.group, self.source)
            return f"receiver{self.number} joins {wanted} with {self.label}"
        self.left = self.receiver.leave(self.group, self.source)
        return f"receiver{self.number} leaves {wanted}"

    def row(self, report: Report, interface: str, groups: list[dict[str, Any]]) -> Row:
        """How it stands."""
        received = report.total("received")
        self.counts = [*self.counts[-4:], (report.time, received)]
        (since, before), (now, _) = self.counts[0], self.counts[-1]
        rate = (received - before) / (now - since) if now > since else 0.0
        member = bool(self.joined) and not self.left
        membership = f"{self.source + ', ' if self.source else ''}{self.group}" if member else ""
        return Row(interface, self.label, membership, _known(groups, interface), received, rate, report.total("lost"))

    def account(self, reported: set[str]) -> Account:
        """Everything that the verdict needs."""
        report = self.receiver.report()
        frames = [(frame.time, frame.destination) for frame in self.capture.select(lambda frame: not frame.outgoing)]
        return Account(
            joined=self.joined,
            left=self.left,
            first=report.joins[-1].first if report.joins else None,
            received=report.total("received"),
            lost=report.total("lost"),
            duplicated=report.total("duplicated"),
            altered=report.total("altered") + report.stray,
            frames=frames,
            group=self.group,
            reported_upstream=self.group in reported,
        )


def _known(groups: list[dict[str, Any]], interface: str) -> str:
    """What mcfwd knows about an interface, from its `show groups`."""
    return ", ".join(
        f"{row['group']} {row['mode']} v{row['compatibility']}" for row in groups if row["interface"] == interface
    )


class Demo:
    """The running lab, from the first join to the verdict."""

    def __init__(self, stack: ExitStack, console: Console, arguments: list[str]) -> None:
        self._console = console
        self._lab = stack.enter_context(Lab(3))
        self._viewers = [
            self._viewer(stack, 0, "IGMPv2", 2, GROUP, ""),
            self._viewer(stack, 1, "IGMPv3, any source", 3, GROUP, ""),
            self._viewer(stack, 2, "IGMPv3, source-specific", 3, CHANNEL, SOURCE),
        ]
        self._upstream = stack.enter_context(Capture(self._lab.source, protocol=IGMP))
        ports = [word for port in self._lab.downstreams for word in ("-d", port)]
        self._mcfwd = stack.enter_context(Mcfwd(self._lab.router, "-u", self._lab.upstream, *ports, *arguments))
        self._groups = (GROUP, CHANNEL, UNWANTED)
        self._sender = stack.enter_context(
            Sender(self._lab.source, *self._groups, rate=RATE * len(self._groups), burst=len(self._groups))
        )

    def _viewer(
        self, stack: ExitStack, number: int, label: str, version: int, group: str, source: str
    ) -> Viewer:
        namespace = self._lab.receivers[number]
        self._lab.force_igmp_version(number, version)
        capture = stack.enter_context(Capture(namespace, protocol=UDP, snaplen=64))
        receiver = stack.enter_context(Receiver(namespace, interface=LINK, verify=True))
        return Viewer(number, label, version, group, source, receiver, capture)

    def play(self) -> None:
        """Joins and leaves as SCRIPT says, and shows it."""
        view, script = new_view(self._console), list(SCRIPT)
        start = time.monotonic()
        with view.context():
            while (elapsed := time.monotonic() - start) < END:
                happened = []
                while script and script[0][0] <= elapsed:
                    _, verb, number = script.pop(0)
                    happened.append(self._viewers[number].obey(verb))
                view.show(self._moment(elapsed, happened))
                time.sleep(STEP)

    def _moment(self, elapsed: float, happened: list[str]) -> Moment:
        groups = self._mcfwd.show("groups")
        rows = [
            viewer.row(viewer.receiver.report(), self._lab.downstreams[viewer.number], groups)
            for viewer in self._viewers
        ]
        upstream = [f"{row['group']} ({row['mode']}, v{row['version']})" for row in self._mcfwd.show("upstream")]
        stream = f"{SOURCE} sends {', '.join(self._groups)}, {RATE:.0f} datagrams/s each"
        return Moment(elapsed, rows, upstream, stream, happened)

    def verdict(self) -> bool:
        """Prints how each receiver fared; true when all is well."""
        sent = self._sender.stop()
        processes = ", ".join(self._mcfwd.pids)
        line = f"\nThe source sent {sent.count} datagrams; mcfwd ran as {processes}."
        self._console.print(line, highlight=False, soft_wrap=True)
        reports = self._upstream.select(lambda frame: frame.source == UPSTREAM)
        reported = {group for frame in reports for group in reported_groups(frame)}
        verdicts = [self._judge(viewer, viewer.account(reported)) for viewer in self._viewers]
        return all(verdicts)

    def _judge(self, viewer: Viewer, account: Account) -> bool:
        found = complaints(account)
        delay = f"{1000 * (account.first - account.joined):.0f} ms" if account.first else "never"
        line = (
            f"receiver{viewer.number} ({viewer.label}): {account.received} received, {account.lost} lost, "
            f"{account.duplicated} duplicated, {account.altered} altered; first after {delay}, "
            f"last {leave_delay(account):.1f} s after its leave"
        )
        mark = f"FAILED: {'; '.join(found)}" if found else "ok"
        self._console.print(f"{line}: {mark}", markup=False, highlight=False, soft_wrap=True)
        return not found


def main(argv: list[str]) -> int:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("mcfwd", nargs="*", help="further arguments of `mcfwd run`, after --")
    console = Console()
    options = parser.parse_args(argv)
    try:
        with ExitStack() as stack:
            demo = Demo(stack, console, options.mcfwd)
            demo.play()
            passed = demo.verdict()
    except PermissionError as error:
        console.print(f"This machine allows no network namespaces here: {error}", style="red")
        return NO_NAMESPACES
    console.print("demo passed" if passed else "demo failed", style="bold green" if passed else "bold red")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
