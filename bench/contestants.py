"""What is compared: the kernel's own multicast routing, programmed by smcrouted, and mcfwd.

Both run in the router namespace of a lab of their own, with the same sender and receivers.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

from forwarder.lab.kernel import kernel_routes
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import Lab

CONTESTANTS = ("kernel", "mcfwd")


def start(name: str, lab: Lab, groups: Sequence[str], options: Sequence[str] = ()) -> AbstractContextManager[object]:
    """The forwarder called `name`, running in the router of `lab` while the context lasts."""
    match name:
        case "kernel":
            return kernel_routes(lab, groups)
        case "mcfwd":
            ports = [word for port in lab.downstreams for word in ("-d", port)]
            return Mcfwd(lab.router, "-u", lab.upstream, *ports, *options, log_level="warning")
    raise ValueError(f"no contestant {name}; there are {', '.join(CONTESTANTS)}")


def drops(forwarder: object) -> Counter[str]:
    """What a forwarder says it dropped, by reason, all interfaces together; the kernel's routing says nothing."""
    counted = Counter[str]()
    if isinstance(forwarder, Mcfwd):
        for row in forwarder.show("interfaces"):
            counted.update(row["drops"])
    return counted
