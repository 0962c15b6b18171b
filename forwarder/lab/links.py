"""Links of a namespace: made, joined, set up and down, renamed and deleted, by netlink (pyroute2).

An IPRoute belongs to the thread that opens it, so each operation opens one inside the namespace, in the
errand's thread, and closes it there (about 1.5 ms). Errors are pyroute2.NetlinkError, a missing link LookupError.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pyroute2 import IPRoute

from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for

T = TypeVar("T")

TUNSETIFF = 0x400454CA  # if_tun.h
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x1000, 0x4000


def netlink(namespace: Namespace, operation: Callable[[Any], T]) -> T:
    """What `operation(ip)` returns, given an IPRoute of the namespace."""

    def errand() -> T:
        with IPRoute() as ip:
            return operation(ip)

    return namespace.run(errand)


def _index(ip: Any, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise LookupError(f"no link {name}")
    return int(found[0])


def index(namespace: Namespace, name: str) -> int:
    """Interface index of a link."""
    return netlink(namespace, lambda ip: _index(ip, name))


def names(namespace: Namespace) -> list[str]:
    """Names of all links, in the order of their indexes."""
    return netlink(namespace, lambda ip: [link.get_attr("IFLA_IFNAME") for link in ip.get_links()])


def attribute(namespace: Namespace, name: str, key: str) -> Any:
    """An attribute of a link such as IFLA_ADDRESS, IFLA_OPERSTATE, IFLA_MTU, IFLA_STATS64."""
    return netlink(namespace, lambda ip: ip.get_links(_index(ip, name))[0].get_attr(key))


def veth(
    left: Namespace,
    left_name: str,
    right: Namespace,
    right_name: str,
    *,
    mtu: int = 1500,
    left_mac: str | None = None,
    right_mac: str | None = None,
) -> None:
    """A pair of Ethernet links, one end in each namespace, down for now."""
    peer: dict[str, Any] = {"ifname": right_name, "mtu": mtu, "net_ns_fd": right.fd}
    end: dict[str, Any] = {"ifname": left_name, "mtu": mtu}
    if right_mac:
        peer["address"] = right_mac
    if left_mac:
        end["address"] = left_mac
    netlink(left, lambda ip: ip.link("add", kind="veth", peer=peer, **end))


def crowd(namespace: Namespace, names: Sequence[str]) -> None:
    """Many Ethernet links at once, up; the other end of each is called after it and up too."""

    def make(ip: Any) -> None:
        for name in names:
            ip.link("add", kind="veth", ifname=name, state="up", peer={"ifname": f"end{name}", "state": "up"})
            ip.link("set", index=_index(ip, f"end{name}"), state="up")

    netlink(namespace, make)


def bridge(namespace: Namespace, name: str, ports: list[str], *, snooping: bool = True) -> None:
    """A bridge, up, with the given links as its ports."""

    def make(ip: Any) -> None:
        ip.link("add", ifname=name, kind="bridge", br_mcast_snooping=int(snooping))
        for port in ports:
            ip.link("set", index=_index(ip, port), master=_index(ip, name))
        ip.link("set", index=_index(ip, name), state="up")

    netlink(namespace, make)


def macvlan(namespace: Namespace, name: str, parent: str, mode: str = "bridge") -> None:
    """A macvlan on `parent`, up."""

    def make(ip: Any) -> None:
        ip.link("add", ifname=name, kind="macvlan", link=_index(ip, parent), macvlan_mode=mode)
        ip.link("set", index=_index(ip, name), state="up")

    netlink(namespace, make)


def tun(namespace: Namespace, name: str, *, ethernet: bool = False, vnet_header: bool = False) -> int:
    """A tun (tap when `ethernet`) link; the descriptor that carries its packets, whose close deletes it.

    `vnet_header`: a virtio_net_hdr goes before each packet, as it does for virtual machines.
    """

    def make() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        flags = (IFF_TAP if ethernet else IFF_TUN) | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        return fd

    return namespace.run(make)


def configure(namespace: Namespace, name: str, **settings: Any) -> None:
    """Changes a link as `ip link set` does: state="down", mtu=9000, ifname="new", address="02:…", master=0."""
    netlink(namespace, lambda ip: ip.link("set", index=_index(ip, name), **settings))


def up(namespace: Namespace, name: str) -> None:
    """Sets a link up; `wait_up` tells when it carries frames."""
    configure(namespace, name, state="up")


def down(namespace: Namespace, name: str) -> None:
    """Sets a link down."""
    configure(namespace, name, state="down")


def rename(namespace: Namespace, name: str, new: str) -> None:
    """Renames a link (older kernels want it down)."""
    configure(namespace, name, ifname=new)


def delete(namespace: Namespace, name: str) -> None:
    """Deletes a link, and with it the other end of a veth pair."""
    netlink(namespace, lambda ip: ip.link("del", index=_index(ip, name)))


def add_address(namespace: Namespace, name: str, address: str) -> None:
    """Gives a link an address with prefix length, as in "10.0.0.1/24"."""
    host, prefix = address.split("/")
    netlink(namespace, lambda ip: ip.addr("add", index=_index(ip, name), address=host, prefixlen=int(prefix)))


def delete_address(namespace: Namespace, name: str, address: str) -> None:
    """Takes an address away."""
    host, prefix = address.split("/")
    netlink(namespace, lambda ip: ip.addr("del", index=_index(ip, name), address=host, prefixlen=int(prefix)))


def add_default_route(namespace: Namespace, gateway: str) -> None:
    """The way to everywhere else."""
    netlink(namespace, lambda ip: ip.route("add", dst="default", gateway=gateway))


def add_multicast_route(namespace: Namespace, name: str) -> None:
    """All groups by this link: without it the kernel makes a new route for every datagram that is sent."""
    netlink(namespace, lambda ip: ip.route("add", dst="224.0.0.0/4", oif=ip.link_lookup(ifname=name)[0]))


def wait_up(namespace: Namespace, name: str, timeout: float = 5.0) -> None:
    """Returns when the link is up with carrier (operational state up, or unknown for tun); TimeoutError."""
    wait_for(
        lambda: attribute(namespace, name, "IFLA_OPERSTATE") in ("UP", "UNKNOWN"),
        timeout,
        f"{namespace.name}/{name} up",
    )
