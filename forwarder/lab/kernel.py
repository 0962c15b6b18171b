"""The kernel's own multicast routing, programmed by smcrouted: what mcfwd is compared with."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forwarder.lab.topology import SOURCE, Lab
from forwarder.lab.wait import wait_for


@contextmanager
def kernel_routes(lab: Lab, groups: Sequence[str], timeout: float = 10.0) -> Iterator[None]:
    """Static routes from the source to every downstream link (at most 31), until the context ends."""
    routes = [f"mroute from {lab.upstream} group {g} source {SOURCE} to {' '.join(lab.downstreams)}" for g in groups]
    with tempfile.TemporaryDirectory(prefix="smcroute-") as directory:
        place = Path(directory)
        (place / "conf").write_text("\n".join(routes) + "\n")
        argv = ["smcrouted", "-n", "-f", str(place / "conf"), "-u", str(place / "sock"), "-P", str(place / "pid")]
        with (place / "log").open("wb") as log:
            process = lab.router.popen(argv, stdout=log, stderr=log)
        try:
            wait_for(lambda: _routed(lab, len(groups)), timeout, "multicast routes of smcrouted")
            yield
        finally:
            process.terminate()
            process.wait(10.0)


def _routed(lab: Lab, count: int) -> bool:
    rows = lab.router.read_proc("ip_mr_cache").splitlines()[1:]
    return sum(":" in row.split(maxsplit=5)[-1] for row in rows) >= count
