"""Real links and the kernel's own messages: what is read of them, which changes ring, and how many dumps follow."""

import os
import socket
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.assignment import Entries
from forwarder.supervisor.link_watch import LinkWatch, current_links, open_bell
from forwarder.supervisor.links import KernelLink, Master, printable
from forwarder.supervisor.looks import Concern

ENTRIES = Entries(Settings(interface=tuple(InterfaceSettings(name=name) for name in ("down0", "tap*", "odd\\xff*"))))
OTHERS = 40


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("links") as made:
        yield made


@pytest.fixture
def elsewhere() -> Iterator[Namespace]:
    with Namespace("elsewhere") as made:
        yield made


def ip(namespace: Namespace, *words: str | bytes) -> None:
    with namespace.popen(["ip", *words]) as process:
        assert process.wait(20.0) == 0


class Watch(LinkWatch):
    """As the supervisor does it, but that it counts its dumps and looks as soon as something rang."""

    def __init__(self, namespace: Namespace, bell: socket.socket) -> None:
        super().__init__(bell, lambda: namespace.run(current_links))
        self.dumps = 0
        self.look()

    def look(self) -> None:
        self.links = self.snapshot()
        self.concerns = Concern(ENTRIES, self.links.values()).concerns
        self.dumps += 1

    def hear(self) -> bool:
        """Whether something rang, which is then looked at."""
        rang = self.rang()
        if rang:
            self.look()
        return rang


@pytest.fixture
def watch(namespace: Namespace) -> Iterator[Watch]:
    """One of a namespace with a port and others."""
    links.netlink(namespace, make_pairs)
    with namespace.run(open_bell) as bell:
        yield Watch(namespace, bell)


def make_pairs(ip: IPRoute) -> None:
    for name in ("down0", *(f"x{number}" for number in range(OTHERS))):
        ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-far"})


# what is read


def decoded(ip: IPRoute) -> dict[str, KernelLink]:
    """The same by the library, which decodes everything."""
    found, all_links = {}, ip.get_links()
    names = {each["index"]: each.get("ifname") for each in all_links}
    for each in all_links:
        index, name = each["index"], printable(each.get("ifname"))
        rows = [row for row in ip.get_addr(family=socket.AF_INET) if row["index"] == index]
        far = [row for row in rows if row.get("local") != row.get("address")]
        found[name] = KernelLink(
            name, index, each["flags"] & 0x41 == 0x41, each.get("address") or "00:00:00:00:00:00", each.get("mtu"),
            each["ifi_type"], bool(each["flags"] & 8), each.get(("linkinfo", "kind")),
            tuple((number(row.get("local")), 32 if row in far else row["prefixlen"]) for row in rows),
            tuple(number(row.get("address")) for row in far),
            Master(names[each.get("master")], each.get(("linkinfo", "slave_kind"))) if each.get("master") else None,
        )  # fmt: skip
    return found


def number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address))


def test_the_walk_finds_what_a_library_decodes(namespace):
    links.netlink(namespace, make_pairs)
    descriptors = [links.tun(namespace, "tun0"), links.tun(namespace, "tap0", ethernet=True)]
    links.bridge(namespace, "br0", ["x1", "x2"])
    links.macvlan(namespace, "mac0", "x3")
    for name in ("lo", "x4", "x4-far", "x5", "tun0"):
        links.up(namespace, name)
    links.configure(namespace, "x6", mtu=9000, address="02:00:00:00:00:77")
    ip(namespace, "link", "property", "add", "dev", "x7", "altname", "a-name-that-is-longer-than-others")
    ip(namespace, "link", "add", b"odd\xff\xfe", "type", "veth", "peer", "name", "küche")
    for at, name in enumerate(("x4", "x4", "x5", "br0", "tap0")):
        links.add_address(namespace, name, f"10.0.{at}.1/{20 + at}")
    ip(namespace, "address", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "tun0")
    links.wait_up(namespace, "x4")
    found = namespace.run(current_links)
    assert found == links.netlink(namespace, decoded)
    assert (found["tun0"].peers, found["br0"].kind) == ((0x0A090002,), "bridge")
    assert (found["x4"].up, found["x5"].up) == (True, False)
    assert (found["x1"].master, found["br0"].master) == (Master("br0", "bridge"), None)
    assert {"odd\\xff\\xfe", "küche", "lo", "mac0"} <= found.keys()
    for each in descriptors:
        os.close(each)


def test_an_address_of_zeros_is_none(namespace):
    links.netlink(namespace, make_pairs)
    ip(namespace, "address", "add", "0.0.0.0/8", "dev", "down0")
    ip(namespace, "address", "add", "10.1.0.1", "peer", "0.0.0.0/0", "dev", "x1")
    found = namespace.run(current_links)
    assert (found["down0"].addresses, found["down0"].peers) == ((), ())
    assert (found["x1"].addresses, found["x1"].peers) == (((0x0A010001, 32),), ())


# what rings


def test_changes_of_other_links_cost_no_dump(namespace, elsewhere, watch):
    links.bridge(namespace, "br0", ["x20"])
    for name in ("x20", "x20-far"):
        links.up(namespace, name)
    for at in range(8):
        name = f"x{at}"
        links.up(namespace, name)
        links.up(namespace, f"{name}-far")
        links.add_address(namespace, name, f"10.0.{at}.1/24")
        links.delete_address(namespace, name, f"10.0.{at}.1/24")
        links.configure(namespace, name, mtu=1400)
        ip(namespace, "link", "property", "add", "dev", name, "altname", f"other{at}")
        links.configure(namespace, name, master=links.index(namespace, "br0"))
        links.configure(namespace, name, master=0)
        links.rename(namespace, name, f"y{at}")
        links.configure(namespace, f"y{at}", net_ns_fd=elsewhere.fd)
        links.configure(elsewhere, f"y{at}", net_ns_fd=namespace.fd)
        links.delete(namespace, f"y{at}")
        links.veth(namespace, name, namespace, f"{name}-far")
        assert not watch.hear()
    links.wait_up(namespace, "br0")     # carrier is told a moment later
    assert not watch.hear()
    assert watch.dumps == 1


def test_what_happens_to_a_port_rings(namespace, elsewhere, watch):
    links.bridge(namespace, "br0", [])
    assert not watch.hear()
    for change in (
        lambda: links.up(namespace, "down0"),
        lambda: links.add_address(namespace, "down0", "10.0.0.1/24"),
        lambda: links.delete_address(namespace, "down0", "10.0.0.1/24"),
        lambda: links.configure(namespace, "down0", mtu=1400),
        lambda: ip(namespace, "link", "property", "add", "dev", "down0", "altname", "other"),
        lambda: links.configure(namespace, "down0", master=links.index(namespace, "br0")),
        lambda: links.configure(namespace, "down0", master=0),
        lambda: links.rename(namespace, "down0", "away0"),
        lambda: links.rename(namespace, "away0", "down0"),
        lambda: links.configure(namespace, "down0", net_ns_fd=elsewhere.fd),
        lambda: links.configure(elsewhere, "down0", net_ns_fd=namespace.fd),
        lambda: links.delete(namespace, "down0"),
        lambda: links.veth(namespace, "down0", elsewhere, "far0"),
        lambda: links.up(namespace, "down0"),
    ):
        change()
        assert watch.hear()
        assert watch.links == namespace.run(current_links)
    links.up(elsewhere, "far0")         # carrier is told a moment later
    wait_for(lambda: watch.hear() and watch.links["down0"].up, 5.0, "carrier")


def test_a_link_that_becomes_a_port_or_ends_being_one_rings(namespace, elsewhere, watch):
    for change, name in (
        (lambda: links.rename(namespace, "x0", "tap0"), "tap0"),
        (lambda: links.rename(namespace, "tap0", "x0"), None),
        (lambda: ip(namespace, "link", "set", "x0", "name", b"odd\xff\xfe"), "odd\\xff\\xfe"),
        (lambda: ip(namespace, "link", "set", b"odd\xff\xfe", "name", "x0"), None),
        (lambda: links.veth(elsewhere, "tap1", elsewhere, "tap2"), None),
        (lambda: links.configure(elsewhere, "tap1", net_ns_fd=namespace.fd), "tap1"),
        (lambda: links.configure(namespace, "tap1", net_ns_fd=elsewhere.fd), None),
    ):
        before = watch.dumps
        change()
        assert watch.hear() == (watch.dumps > before)
        assert watch.links == namespace.run(current_links)
        assert [each for each in watch.links if ENTRIES.of(each)] == ["down0", *filter(None, [name])]


def test_a_name_that_is_given_and_taken_before_we_hear_of_either_is_looked_at_once(namespace, watch):
    for former, new in (("x0", "tap0"), ("tap0", "x0"), ("down0", "x50"), ("x1", "down0")):
        links.rename(namespace, former, new)
    assert watch.hear()
    assert watch.links == namespace.run(current_links)
    assert not watch.hear()
    links.up(namespace, "x50")          # down0 until then
    links.up(namespace, "x0")
    assert not watch.hear()
    links.up(namespace, "down0")        # x1 until then
    assert watch.hear()


def test_a_port_whose_index_another_link_takes_is_not_taken_for_it(namespace, watch):
    index = links.index(namespace, "down0")
    links.delete(namespace, "down0")
    assert watch.hear()
    links.netlink(namespace, lambda ip: ip.link("add", ifname="x60", kind="veth", index=index, peer={"ifname": "x61"}))
    assert not watch.hear()
    links.netlink(namespace, lambda ip: ip.link("set", index=index, ifname="down0"))
    assert watch.hear()
    assert watch.links["down0"].ifindex == index


def test_an_overrun_is_answered_by_one_dump(namespace, watch):
    def storm(ip: IPRoute) -> None:
        for _ in range(20):
            for number in range(OTHERS):
                ip.link("set", index=watch.links[f"x{number}"].ifindex, mtu=1400)
                ip.link("set", index=watch.links[f"x{number}"].ifindex, mtu=1500)

    links.netlink(namespace, storm)
    assert watch.hear()
    assert not watch.hear()
    assert watch.dumps == 2
    links.up(namespace, "x0")
    assert not watch.hear()
    links.up(namespace, "down0")
    assert watch.hear()
    assert watch.links == namespace.run(current_links)
