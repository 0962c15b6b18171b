"""The standard picture of tests, demo and benchmarks.

    source             router                        receiver0
    eth0 ----------- up0   down0 ------------------- eth0
    10.0.0.1   10.0.0.2    192.168.10.1      192.168.10.11
                                                     receiver1
                           down1 ------------------- eth0
                           192.168.20.1      192.168.20.11   ...

No namespace forwards by itself: rp_filter is off, ip_forward is off, IPv6 is off.
"""

from contextlib import ExitStack
from types import TracebackType

from forwarder.lab import links
from forwarder.lab.namespaces import Namespace

SOURCE = "10.0.0.1"
UPSTREAM = "10.0.0.2"
LINK = "eth0"  # the only link of source and receivers
MEMBERSHIPS = 2000  # of one receiver's socket, in place of the kernel's 20


def downstream_network(number: int) -> str:
    """The first three octets of downstream `number`: 192.168.10 for 0, 192.168.20 for 1, ..."""
    return f"192.168.{10 * (number + 1)}" if number < 25 else f"172.16.{number}"


class Lab:
    """Source, router and receivers on veth pairs; everything vanishes with the context (or the process)."""

    def __init__(self, receivers: int = 1, *, mtu: int = 1500) -> None:
        self._mtu, self._receivers = mtu, receivers
        self._stack = ExitStack()
        self.downstreams = [f"down{number}" for number in range(receivers)]
        self.upstream = "up0"

    def __enter__(self) -> "Lab":
        with ExitStack() as stack:
            self.source = self._namespace(stack, "source")
            self.router = self._namespace(stack, "router")
            self.receivers = [self._namespace(stack, f"receiver{n}") for n in range(self._receivers)]
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def address(self, number: int) -> str:
        """Address of receiver `number`."""
        return downstream_network(number) + ".11"

    def force_igmp_version(self, number: int, version: int) -> None:
        """Makes receiver `number` speak only that version of IGMP."""
        self.receivers[number].sysctl(f"ipv4/conf/{LINK}/force_igmp_version", version)

    def connect(self, number: int) -> None:
        """Makes the link between the router and receiver `number` (again, after it was deleted)."""
        near, far = self.router, self.receivers[number]
        network, name = downstream_network(number), self.downstreams[number]
        self._join(near, name, f"{network}.1/24", far, f"{network}.11/24")
        links.add_default_route(far, f"{network}.1")

    def _wire(self) -> None:
        self._join(self.router, self.upstream, f"{UPSTREAM}/24", self.source, f"{SOURCE}/24")
        for number in range(self._receivers):
            self.connect(number)

    def _join(self, near: Namespace, name: str, near_address: str, far: Namespace, far_address: str) -> None:
        links.veth(near, name, far, LINK, mtu=self._mtu)
        links.add_address(near, name, near_address)
        links.add_address(far, LINK, far_address)
        links.up(near, name)
        links.up(far, LINK)
        links.wait_up(near, name)
        links.wait_up(far, LINK)

    @staticmethod
    def _namespace(stack: ExitStack, name: str) -> Namespace:
        namespace = stack.enter_context(Namespace(name))
        for scope in ("all", "default"):
            namespace.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
        namespace.sysctl("ipv4/ip_forward", 0)
        namespace.sysctl("ipv4/igmp_max_memberships", MEMBERSHIPS)
        links.up(namespace, "lo")
        return namespace
