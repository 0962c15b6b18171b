"""`python -m bench.throughput`: aggregated multicast throughput (RFC 3918 section 4.3), side by side.

Datagrams leave a UDP socket one by one; every downstream port has a kernel receiver in a namespace of its own
that counts sequence numbers; the highest rate at which nobody lost anything is looked for. Contestants take turns
(A B A B). Trials are about 2 s, far shorter than the RFC's 60 s. Nothing is pinned to a CPU.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench import contestants, machine
from bench.search import Trial, highest_lossless
from forwarder.lab.numbering import expand
from forwarder.lab.programs import Receiver, Report, Sender
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for

FIRST_GROUP = "239.1.1.1"
WARM_UP = 1000.0  # datagrams a second: makes flows and caches, excluded from the result


class Arena:
    """One contestant with its sender and receivers; `trial` measures one rate."""

    def __init__(
        self, lab: Lab, forwarder: object, receivers: list[Receiver], groups: list[str], options: argparse.Namespace
    ) -> None:
        self._lab, self._forwarder, self._receivers, self._groups = lab, forwarder, receivers, groups
        self._size, self._seconds = options.size, options.seconds
        self._stream = 0
        self._drops = Counter[str]()

    def warm_up(self) -> None:
        """Sends until every receiver gets every group."""
        with Sender(self._lab.source, *self._groups, rate=WARM_UP, size=self._size):
            wait_for(self._all_reached, 30.0, "every receiver gets every group")
        for receiver in self._receivers:
            receiver.settle()

    def trial(self, rate: float) -> Trial:
        """Offers `rate` datagrams a second for the agreed time, counted at every receiver."""
        for receiver in self._receivers:
            receiver.reset()
        self._stream = (self._stream + len(self._groups)) % 32768  # a late one of the last trial shows as stray
        with Sender(
            self._lab.source,
            *self._groups,
            rate=rate,
            count=max(1, int(rate * self._seconds)),
            size=self._size,
            stream=self._stream,
        ) as sender:
            before = machine.CpuClock.read()
            result = sender.wait(4 * self._seconds + 30)
            cores = machine.CpuClock.read().cores_since(before)
        reports = [receiver.settle(timeout=30.0) for receiver in self._receivers]
        counts = [sum(s.received for s in report.streams if s.stream in result.streams) for report in reports]
        lossless = min(counts) == result.count
        note = "" if lossless else f"received {min(counts)}..{max(counts)} of {result.count}; {self._lost(reports)}"
        return Trial(rate, result.rate, lossless, cores, note)

    def _lost(self, reports: list[Report]) -> str:
        """Where datagrams went, as far as anybody counted: since the last loss."""
        drops = contestants.drops(self._forwarder)
        drops["receivers' sockets"] = sum(report.socket_drops for report in reports)
        fresh, self._drops = drops - self._drops, drops
        return ", ".join(f"{reason} {count}" for reason, count in fresh.items()) or "nobody counted a drop"

    def _all_reached(self) -> bool:
        return all(len(receiver.report().streams) >= len(self._groups) for receiver in self._receivers)


def measure(name: str, options: argparse.Namespace, say: Callable[[str], None]) -> Trial | None:
    """Best lossless trial of one contestant in a fresh lab."""
    groups = expand([FIRST_GROUP], options.groups)

    def trial(rate: float) -> Trial:
        result = arena.trial(rate)
        verdict = "ok  " if result.lossless else "LOSS"
        offered = f"offered {result.offered:9.0f}, {result.cores:.2f} cores"
        say(f"    {name} {rate:9.0f} pps: {verdict} {offered} {result.note}")
        return result

    with ExitStack() as stack:
        lab = stack.enter_context(Lab(options.ports))
        forwarder = stack.enter_context(contestants.start(name, lab, groups, options.mcfwd.split()))
        receivers = [
            stack.enter_context(Receiver(namespace, *groups, interface=LINK, timestamps=False))
            for namespace in lab.receivers
        ]
        arena = Arena(lab, forwarder, receivers, groups, options)
        arena.warm_up()
        return highest_lossless(trial, options.start, options.ceiling, options.resolution)


def parse(argv: list[str]) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("--ports", type=int, default=4, help="downstream ports (the kernel has at most 31)")
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--size", type=int, default=1316, help="UDP payload octets")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one trial")
    parser.add_argument("--start", type=float, default=20000.0, help="first rate, datagrams a second")
    parser.add_argument("--ceiling", type=float, default=1e6)
    parser.add_argument("--resolution", type=float, default=0.03)
    parser.add_argument("--contestants", default="kernel,mcfwd")
    parser.add_argument("--mcfwd", default="", help="further arguments of mcfwd, as one word")
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument("--quiet", action="store_true", help="no line for each trial")
    return parser.parse_args(argv)


def summary(options: argparse.Namespace, runs: dict[str, list[Trial | None]]) -> dict[str, object]:
    """What goes into the JSON: set-up, every best trial, medians, ratio of the second contestant to the first."""
    rates = {name: [trial.offered if trial else 0.0 for trial in trials] for name, trials in runs.items()}
    first, *_, last = [*rates, *rates]
    ratios = [b / a for a, b in zip(rates[first], rates[last], strict=True) if a]
    return {
        "benchmark": "throughput",
        "machine": machine.describe(),
        "ports": options.ports,
        "groups": options.groups,
        "size": options.size,
        "seconds": options.seconds,
        "best": {name: [asdict(trial) if trial else None for trial in trials] for name, trials in runs.items()},
        "median": {name: median(values) for name, values in rates.items()},
        "ratios": ratios,
        "ratio": median(ratios) if ratios else None,
    }


def main(argv: list[str]) -> int:
    """Measures and prints."""
    options = parse(argv)
    names = options.contestants.split(",")
    runs: dict[str, list[Trial | None]] = {name: [] for name in names}
    for pair in range(options.pairs):
        for name in names:
            best = measure(name, options, lambda line: None if options.quiet else print(line, flush=True))
            runs[name].append(best)
            found = f"{best.offered:.0f} pps, {best.cores:.2f} cores" if best else "nothing without loss"
            print(f"pair {pair + 1} {name:8} {options.ports} ports: {found}", flush=True)
    result = summary(options, runs)
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
