"""Receive offload of a link: like datagrams are merged into super-frames before anybody sees them.

A veth link merges UDP when it polls (generic-receive-offload makes it so) and may merge what is to be forwarded
(rx-udp-gro-forwarding). It gives up what it has gathered when its queue is empty, which on one machine is after every
few datagrams; with deferred interrupts it waits for `flush` first, as a network card under load would.
"""

from bench.peers import daemon
from forwarder.lab.namespaces import Namespace

DEFER = 2  # times that an empty queue is polled again before its interrupt is on
DEFERRED = """
mount -t sysfs sysfs /sys
echo $2 > /sys/class/net/$1/gro_flush_timeout
echo $3 > /sys/class/net/$1/napi_defer_hard_irqs
"""


def obstacle() -> str:
    """Why no link can be made to merge; empty when one can."""
    return "" if daemon.program("ethtool") else "ethtool is not installed (apt-get install ethtool)"


def merge(namespace: Namespace, link: str, flush: float = 0.0) -> None:
    """Has a link merge UDP; `flush`: seconds that gathered datagrams wait for more. CalledProcessError."""
    ethtool = daemon.program("ethtool") or "ethtool"
    namespace.command(ethtool, "-K", link, "gro", "on")
    namespace.command(ethtool, "-K", link, "rx-udp-gro-forwarding", "on")
    if flush:
        words = [link, str(int(flush * 1e9)), str(DEFER)]
        # sysfs shows the links of the namespace that mounted it, so it is mounted anew, for this shell alone
        namespace.command("unshare", "-m", "sh", "-ec", DEFERRED, "sh", *words)
