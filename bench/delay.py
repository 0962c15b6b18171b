"""From a report to the first forwarded datagram, in a lab where mcfwd knows very many other groups.

A kernel receiver joins a stream that flows and that nobody wants; both ends of the delay are stamped by the kernel. The
other groups are said to be wanted on another port, by reports without hosts behind them.
"""

import socket
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.feeder import Feed
from forwarder.lab import links
from forwarder.lab.capture import IGMP, Capture, reported_groups
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for
from igmp.messages import RecordType

GROUP = "239.255.1.1"
RATE = 10_000           # datagrams a second: half of their spacing is part of every delay
QUIET = 0.3             # seconds without the stream: the branch is cut
SETTINGS = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
[[interface]]
name = "down1"
max_groups = 65536
[igmp]
last_member_query_interval = 0.2
"""


def join_delays(groups: int, count: int) -> list[float]:
    """Seconds of `count` joins, with so many groups on another port."""
    with ExitStack() as stack:
        folder, lab = Path(stack.enter_context(TemporaryDirectory())), stack.enter_context(Lab(2))
        (folder / "mcfwd.toml").write_text(SETTINGS)
        mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(folder / "mcfwd.toml")))
        _fill(lab, mcfwd, groups)
        stack.enter_context(Sender(lab.source, GROUP, rate=RATE))
        mcfwd.wait_for(lambda each: each.interface(lab.upstream)["rx_packets"], 10.0, "stream at the router")
        receiver = stack.enter_context(Receiver(lab.receivers[0]))
        capture = stack.enter_context(Capture(lab.receivers[0], protocol=IGMP))
        return [_join(lab, receiver, capture) for _ in range(count)]


def _fill(lab: Lab, mcfwd: Mcfwd, groups: int) -> None:
    """Have the second receiver's link say that it wants so many groups."""
    frames = Feed(2, RecordType.CHANGE_TO_EXCLUDE, 0, groups, 60, host=lab.address(1)).frames()
    with lab.receivers[1].socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((LINK, 0))
        for at, frame in enumerate(frames):
            sock.send(frame)
            if at % 20 == 0:        # what a neighbour with that many groups would send within a second
                time.sleep(0.02)
    mcfwd.wait_for(lambda each: each.interface("down1")["groups"] == groups, 20.0, f"{groups} groups")


def _join(lab: Lab, receiver: Receiver, capture: Capture) -> float:
    joined = receiver.join(GROUP)
    report = capture.wait_for(
        lambda frame: frame.outgoing and frame.time >= joined and GROUP in reported_groups(frame), 5.0, "report"
    )
    first = wait_for(lambda: receiver.report().joins[-1].first, 10.0, "first datagram")
    receiver.leave(GROUP)
    _wait_quiet(lab)
    return first - report.time


def _wait_quiet(lab: Lab) -> None:
    def received() -> float:
        return float(links.attribute(lab.receivers[0], LINK, "IFLA_STATS64")["rx_packets"])

    packets, since = received(), time.monotonic()

    def quiet() -> bool:
        nonlocal packets, since
        if received() > packets + 5:    # queries may come
            packets, since = received(), time.monotonic()
        return time.monotonic() - since > QUIET

    wait_for(quiet, 15.0, "branch cut")
