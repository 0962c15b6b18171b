"""See scripts/walk. A worker that is started here profiles itself between two SIGUSR2 (`PROBE`), breath by breath."""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import sleep

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.arena import FIRST_GROUP  # noqa: E402
from bench.traffic import Receivers, Source  # noqa: E402
from forwarder.lab import links  # noqa: E402
from forwarder.lab.mcfwd import Mcfwd  # noqa: E402
from forwarder.lab.numbering import expand  # noqa: E402
from forwarder.lab.topology import LINK, Lab  # noqa: E402
from forwarder.lab.wait import wait_for  # noqa: E402

PROBE = """
import json, os, signal, sys
if any("forwarder.dataplane.worker" in word for word in sys.orig_argv):
    breaths, calls = [], []
    def count(frame, event, _):
        code = frame.f_code
        if event == "call" and "/forwarder/" in code.co_filename or "/igmp/" in code.co_filename:
            if code.co_name == "_breathe":
                breaths.append(list(calls))
                calls.clear()
            if event == "call":
                calls.append((code.co_filename, code.co_qualname))
    def toggle(*_):
        if sys.getprofile() is None:
            breaths.clear(); calls.clear(); sys.setprofile(count)
            return
        sys.setprofile(None)
        path = os.environ["MCFWD_WALK"]
        with open(path + ".new", "w") as file:
            json.dump(breaths[1:], file)
        os.rename(path + ".new", path)
    signal.signal(signal.SIGUSR2, toggle)
"""
LOADS = (("a few frames", 1_000, 1), ("one stream", 20_000, 1), ("100 interleaved", 20_000, 100))
PORTS = 4


def main() -> None:
    """Print a row for each load."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "sitecustomize.py").write_text(PROBE)
        print(f"{'for a batch of':<18}{'functions':>10}{'calls':>8}{'modules':>9}   (medians)")
        for words, rate, groups in LOADS:
            breaths = walk(Path(directory), rate, groups)
            functions = median(len(set(each)) for each in breaths)
            calls, modules = median(map(len, breaths)), median(len({file for file, _ in each}) for each in breaths)
            print(f"{words:<18}{functions:>10g}{calls:>8g}{modules:>9g}")


def walk(directory: Path, rate: int, groups: int) -> list[list[tuple[str, str]]]:
    """The calls of each breath of a second that sent something."""
    found, names = directory / "walk.json", expand([FIRST_GROUP], groups)
    environment = {"PYTHONPATH": f"{directory}:{ROOT}", "MCFWD_WALK": str(found)}
    with Lab(PORTS) as lab:
        for receiver in lab.receivers:
            receiver.sysctl("ipv4/igmp_max_memberships", groups + 100)
        links.add_multicast_route(lab.source, LINK)
        ports = [word for port in lab.downstreams for word in ("-d", port)]
        with (
            Mcfwd(lab.router, "-u", lab.upstream, *ports, environment=environment) as mcfwd,
            Receivers(lab.receivers) as receivers,
            Source(lab.source) as source,
        ):
            receivers.join(FIRST_GROUP, groups)
            wait_for(lambda: len(mcfwd.show("groups")) == PORTS * groups, 20.0, "memberships")
            source.start(*names, rate=rate, count=0, seconds=4.0, stream=1, size=1316)
            sleep(1.5)  # flows are decided, the pace is found
            worker = mcfwd.pids["mcfwd-worker-0"]
            os.kill(worker, signal.SIGUSR2)
            sleep(1.0)
            os.kill(worker, signal.SIGUSR2)
            source.wait(20.0)
            breaths = wait_for(lambda: found.exists() and json.loads(found.read_text()), 5.0, "the worker's answer")
    found.unlink()
    sent = [[tuple(call) for call in breath] for breath in breaths]
    return [breath for breath in sent if any("send" in name for _, name in breath)]


if __name__ == "__main__":
    main()
