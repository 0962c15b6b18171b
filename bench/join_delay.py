"""`python -m bench.join_delay`: group join delay (RFC 3918 section 6.1, case A), report to first datagram.

A stream flows that nobody wants; a kernel receiver joins it. Measured is the time from the moment its report
leaves its link (the kernel itself delays that by some milliseconds after the join) to the arrival of the first
datagram, both stamped by the kernel. Half the spacing of datagrams is part of every result and is printed.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

from bench import contestants, machine
from forwarder.lab import links
from forwarder.lab.capture import IGMP, Capture, reported_groups
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for

GROUP = "239.1.1.1"
QUIET = 0.2  # seconds without a frame: the branch is cut


class Branch:
    """One receiver, joining and leaving a stream that flows all the time."""

    def __init__(self, lab: Lab, receiver: Receiver, capture: Capture) -> None:
        self._lab, self._receiver, self._capture = lab, receiver, capture

    def join_delay(self) -> float:
        """Seconds from the report to the first datagram; leaves again and waits until nothing comes."""
        joined = self._receiver.join(GROUP)
        report = self._capture.wait_for(
            lambda frame: frame.outgoing and frame.time >= joined and GROUP in reported_groups(frame), 5.0, "report"
        )
        first = wait_for(lambda: self._receiver.report().joins[-1].first, 10.0, "first datagram")
        self._receiver.leave(GROUP)
        self._wait_quiet()
        return first - report.time

    def _wait_quiet(self) -> None:
        state = [self._packets(), time.monotonic()]

        def quiet() -> bool:
            packets, now = self._packets(), time.monotonic()
            if packets > state[0] + 5:  # queries and reports may go on
                state[:] = [packets, now]
            return now - state[1] > QUIET

        wait_for(quiet, 15.0, "branch cut")

    def _packets(self) -> float:
        return float(links.attribute(self._lab.receivers[0], LINK, "IFLA_STATS64")["rx_packets"])


def measure(options: argparse.Namespace) -> list[float]:
    """Join delays in seconds."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(options.ports))
        mcfwd = stack.enter_context(contestants.start("mcfwd", lab, [GROUP], options.mcfwd.split()))
        assert isinstance(mcfwd, Mcfwd)
        stack.enter_context(Sender(lab.source, GROUP, rate=options.rate))
        mcfwd.wait_for(lambda m: m.interface(lab.upstream)["rx_packets"], 10.0, "stream at the router")
        receiver = stack.enter_context(Receiver(lab.receivers[0]))
        capture = stack.enter_context(Capture(lab.receivers[0], protocol=IGMP))
        branch = Branch(lab, receiver, capture)
        return [branch.join_delay() for _ in range(options.count)]


def main(argv: list[str]) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.join_delay", description=__doc__)
    parser.add_argument("--ports", type=int, default=1)
    parser.add_argument("--rate", type=float, default=10000.0, help="datagrams a second of the stream")
    parser.add_argument("--count", type=int, default=20, help="joins")
    parser.add_argument("--mcfwd", default="", help="further arguments of mcfwd, as one word")
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args(argv)
    delays = measure(options)
    milliseconds = [delay * 1000 for delay in delays]
    result = {
        "benchmark": "join_delay",
        "machine": machine.describe(),
        "unit": "ms",
        "count": len(delays),
        "median": median(milliseconds),
        "p90": quantiles(milliseconds, n=10)[-1] if len(delays) > 1 else milliseconds[0],
        "max": max(milliseconds),
        "spacing": 1000 / options.rate,
        "all": milliseconds,
    }
    print(f"join delay of mcfwd: median {result['median']:.2f} ms, max {result['max']:.2f} ms, {len(delays)} joins")
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
