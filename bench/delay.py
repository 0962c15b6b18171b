"""From a report to the first forwarded datagram, in a lab where the forwarder knows many other groups.

A kernel receiver joins a stream that flows and that nobody wants; both ends of the delay are stamped by the kernel. The
other groups are said to be wanted on another port, by reports without hosts behind them.
"""

import socket
import time
from contextlib import ExitStack

from bench.contestants import Contestant
from bench.feeder import FIRST_GROUP, Feed
from forwarder.lab import links
from forwarder.lab.capture import IGMP, Capture, reported_groups
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for
from igmp.link import format_address
from igmp.messages import RecordType

GROUP = "239.255.1.{}"
RATE = 10_000           # datagrams a second: half of their spacing is part of every delay
AHEAD = 0.1             # seconds that a stream flows before it is joined


def join_delays(contestant: Contestant, groups: int, count: int) -> list[float]:
    """Seconds of `count` joins, with so many groups on another port; TimeoutError when it does not hold so many."""
    others = [format_address(FIRST_GROUP + number) for number in range(groups)]
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(2))
        links.add_multicast_route(lab.source, LINK)
        stack.enter_context(contestant.start(lab, others))
        _fill(lab, groups)
        with Sender(lab.source, others[-1], rate=1000):
            wait_for(lambda: _received(lab.receivers[1]) > 500, 20.0, f"the last of {groups} groups")
        receiver = stack.enter_context(Receiver(lab.receivers[0]))
        capture = stack.enter_context(Capture(lab.receivers[0], protocol=IGMP))
        return [_join(lab, receiver, capture, GROUP.format(number)) for number in range(count)]


def _fill(lab: Lab, groups: int) -> None:
    """Have the second receiver's link say that it wants so many groups."""
    frames = Feed(2, RecordType.CHANGE_TO_EXCLUDE, 0, groups, min(groups, 60), host=lab.address(1)).frames()
    with lab.receivers[1].socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((LINK, 0))
        for at, frame in enumerate(frames):
            sock.send(frame)
            if at % 20 == 0:        # what a neighbour with that many groups would send within a second
                time.sleep(0.02)


def _join(lab: Lab, receiver: Receiver, capture: Capture, group: str) -> float:
    with Sender(lab.source, group, rate=RATE):
        time.sleep(AHEAD)
        joined = receiver.join(group)
        report = capture.wait_for(
            lambda frame: frame.outgoing and frame.time >= joined and group in reported_groups(frame), 5.0, "report"
        )
        first = wait_for(lambda: receiver.report().joins[-1].first, 10.0, "first datagram")
    receiver.leave(group)
    return first - report.time


def _received(receiver: Namespace) -> float:
    return float(links.attribute(receiver, LINK, "IFLA_STATS64")["rx_packets"])
