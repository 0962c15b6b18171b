"""What of the system beside the links may be at odds with a configuration."""

from pathlib import Path
from typing import Any

import netifaces

from forwarder.supervisor.doubts import Surroundings

KERNEL_VIFS = Path("/proc/net/ip_mr_vif")


def surroundings() -> Surroundings:
    """As they are now; what the system does not say counts as not there."""
    return Surroundings(default_interface(), kernel_routed())


def default_interface() -> str | None:
    """The interface of the default IPv4 route; None where there is none, or the system does not say."""
    try:
        default: Any = netifaces.gateways().get("default", {})
    except OSError:     # descriptors or memory: what is doubtful about roles is not worth a reload
        return None
    return default[netifaces.AF_INET][1] if netifaces.AF_INET in default else None


def kernel_routed(vifs: Path = KERNEL_VIFS) -> frozenset[str]:
    """Interfaces that the kernel's multicast routing uses, as some program told it to (linux/mroute.h)."""
    try:
        rows = vifs.read_text(errors="backslashreplace").splitlines()[1:]
    except OSError:     # a kernel without multicast routing has no such file
        return frozenset()
    return frozenset(row.split()[1] for row in rows if len(row.split()) > 1)
