"""`python -m bench.changes`: what a running instance's changes cost, beside the floors that are promised.

* **reload**: 10,000 static routes and two lists of 1,000 entries are read anew, with other interfaces in each route,
  beside a stream of 50,000 datagrams a second to one port; seconds from the request to the answer, and what was lost.
* **hotplug**: 300 interfaces of a wildcard appear; seconds from the last one until all are served.

Needs root, as the bench does. Not part of `python -m bench`: nothing here has a peer that does the same.
"""

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import Lab

ROUTES, ENTRIES, RATE, TAPS = 10_000, 1_000, 50_000, 300
GROUP = "238.1.1.1"     # no route names it
LONGEST_RELOAD, LONGEST_HOTPLUG = 0.5, 3.0      # seconds
SOON = 60.0
PATIENCE = 0.02         # seconds between two looks


def configuration(lab: Lab, interface: int) -> str:
    """TOML of many routes to one of the lab's downstream interfaces, and of many lists."""
    entries = json.dumps([f"237.{number >> 8}.{number & 255}.0/24" for number in range(ENTRIES)])
    routes = "".join(
        f'[[route]]\ngroup = "239.{number >> 8}.{number & 255}.1"\ninterfaces = ["{lab.downstreams[interface]}"]\n'
        for number in range(ROUTES)
    )
    ports = "".join(f'[[interface]]\nname = "{name}"\ndeny = {entries}\n' for name in lab.downstreams[:2])
    return f'[[interface]]\nname = "{lab.upstream}"\nrole = "upstream"\n{ports}{routes}'


def reload() -> Iterable[str]:
    """Lines about reloads beside a stream."""
    with tempfile.TemporaryDirectory() as folder, Lab(2) as lab:
        file = Path(folder) / "mcfwd.toml"
        file.write_text(configuration(lab, 0))
        with Mcfwd(lab.router, "-c", str(file), timeout=SOON) as mcfwd, \
                Receiver(lab.receivers[1], GROUP, timestamps=False) as receiver:  # fmt: skip
            mcfwd.wait_member(lab.downstreams[1], GROUP, SOON)
            with Sender(lab.source, GROUP, rate=RATE) as sender:
                receiver.wait_received(RATE, SOON)
                taken = []
                for turn in range(1, 6):
                    file.write_text(configuration(lab, turn % 2))
                    began = time.monotonic()
                    status, answer = mcfwd.request("POST", "/v1/reload", {}, timeout=SOON)
                    taken.append(time.monotonic() - began)
                    if status != 201:
                        raise RuntimeError(f"the reload was refused: {answer}")
                    receiver.wait_received(receiver.report().total("received") + RATE, SOON)
                sent = sender.stop().count
            lost = sent - receiver.settle().total("received")
        taken.sort()
        spread = f"{taken[0]:.3f} to {taken[-1]:.3f}; at most {LONGEST_RELOAD}"
        yield f"reload of {ROUTES} routes: {taken[2]:.3f} s ({spread})"
        yield f"lost of {sent} datagrams at {RATE} a second meanwhile: {lost} (0)"


def hotplug() -> Iterable[str]:
    """Lines about interfaces that appear."""
    with Lab(1) as lab:
        wild = '[[interface]]\nname = "tap*"\n[dataplane]\nmax_ports = 512\nring_memory = "512MiB"\n'
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mcfwd.toml"
            file.write_text(wild)
            with Mcfwd(lab.router, "-u", lab.upstream, "-c", str(file), timeout=SOON) as mcfwd:
                began = time.monotonic()
                links.crowd(lab.router, [f"tap{number}" for number in range(TAPS)])
                made = time.monotonic()
                while _served(mcfwd) < TAPS + 1:
                    time.sleep(PATIENCE)
                taken = time.monotonic() - made
        made_in = f"{TAPS} interfaces, made in {made - began:.1f} s"
        yield f"{made_in}: served {taken:.2f} s after the last (at most {LONGEST_HOTPLUG})"


def _served(mcfwd: Mcfwd) -> int:
    return sum(row["state"] == "up" and not row["degraded"] for row in mcfwd.show("interfaces"))


def main() -> None:
    """Print what was measured."""
    for suite in (reload, hotplug):
        for line in suite():
            print(line, flush=True)


if __name__ == "__main__":
    main()
