"""Links without Ethernet header, bridges, VLANs and virtual links are ports like any other, in both directions."""

import os
import socket
from contextlib import ExitStack

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from forwarder.lab.wait import wait_for
from netns.frames import (
    ROUTER_ALERT,
    Injector,
    Member,
    Source,
    Tunnel,
    checksum,
    ethernet,
    group_mac,
    udp,
    udp_sum,
    v2_leave,
    v2_report,
)
from netns.plant import NOISE, carried, payloads

GROUP = "239.7.1.1"
NEAR, FAR = "10.9.0.1", "10.9.0.2"  # the two ends of a tunnel
SIZES = [1, 2, 3, 100, 999, 1471, 1472]
REPORT_V3, QUERY = 0x22, 0x11


def tunnel(stack: ExitStack, namespace: Namespace, name: str = "tun0", address: str = NEAR) -> Tunnel:
    """A tun link (tap if it is called so) with an address, up; gone with the test."""
    fd = links.tun(namespace, name, ethernet=name.startswith("tap"))
    stack.callback(os.close, fd)
    links.add_address(namespace, name, f"{address}/24")
    links.up(namespace, name)
    return Tunnel(fd)


def behind(tunnel: Tunnel, mcfwd: Mcfwd, name: str = "tun0", address: str = FAR) -> None:
    """A host at the far end of the tunnel joins GROUP."""
    tunnel.write(v2_report(address, GROUP))
    mcfwd.wait_member(name, GROUP, 10.0)


def payload(packet: bytes) -> bytes:
    return packet[(packet[0] & 15) * 4 + 8 :]


# --- tun ---


def test_what_a_tun_downstream_reads_is_whole_with_finished_checksums(lab, stack):
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0", "-d", "tun0"))
    behind(far, mcfwd)
    with Source(lab.source) as source:
        source.send(GROUP, *payloads(SIZES))
        packets = far.read(len(SIZES), GROUP)
    assert [payload(packet) for packet in packets] == payloads(SIZES)
    assert {(packet[8], packet[12:16], checksum(packet[:20]), udp_sum(packet)) for packet in packets} == {
        (15, socket.inet_aton(SOURCE), 0, 0)
    }


def test_a_tun_and_an_ethernet_egress_carry_the_same_flow(lab, stack):
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0", "-d", "tun0"))
    behind(far, mcfwd)
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    with Source(lab.source, options=ROUTER_ALERT) as source:
        source.send(GROUP, *payloads([5, 1000]))
    with Source(lab.source, no_checksum=True) as source:
        source.send(GROUP, b"no checksum")
    with Injector(lab.source) as injector:
        injector.send(udp(SOURCE, GROUP, b"finished"))
    expected = [*payloads([5, 1000]), b"no checksum", b"finished"]
    packets = far.read(4, GROUP)
    assert member.receive(4) == [payload(packet) for packet in packets] == expected
    assert [packet[20:24] for packet in packets[:2]] == [ROUTER_ALERT] * 2
    assert [udp_sum(packet) for packet in (*packets[:2], packets[3])] == [0, 0, 0]
    assert packets[2][26:28] == b"\0\0"


@pytest.mark.parametrize("size", [500, 1472, 3000])
def test_a_super_frame_is_read_from_a_tun_as_the_datagrams_it_meant(stack, make_lab, size):
    lab = make_lab(1, mtu=9000)
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "tun0"))
    behind(far, mcfwd)
    with Source(lab.source, segment=size) as source:
        source.send(GROUP, NOISE[:10_001])
    fragments = -(-(size + 8) // 1480)
    count, rest = divmod(10_001, size)
    packets = far.read(count * fragments + -(-(rest + 8) // 1480), GROUP)
    assert b"".join(reassembled(packets)) == NOISE[:10_001]
    assert {checksum(packet[:20]) for packet in packets} == {0}
    if fragments == 1:
        assert {udp_sum(packet) for packet in packets} == {0}


def reassembled(packets: list[bytes]) -> list[bytes]:
    """The UDP payloads of fragments that come in order."""
    datagrams: list[bytes] = []
    for packet in packets:
        if int.from_bytes(packet[6:8], "big") & 0x1FFF:
            datagrams[-1] += packet[20:]
        else:
            datagrams.append(packet[28:])
    return datagrams


def test_a_host_behind_a_tun_is_asked_and_can_leave(lab, stack, tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text("[igmp]\nlast_member_query_interval = 0.1\n")
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "tun0", "-c", str(file)))
    query = far.read_igmp(QUERY)
    assert (query[8], query[12:20]) == (1, socket.inet_aton(NEAR) + socket.inet_aton("224.0.0.1"))
    assert checksum(query[:24]) == checksum(query[24:]) == 0
    behind(far, mcfwd)
    far.write(v2_leave(FAR, GROUP))
    mcfwd.wait_for(lambda _: mcfwd.group("tun0", GROUP) is None, 10.0, "leave")
    with Source(lab.source) as source:
        source.send(GROUP, b"too late")
    assert far.read(1, GROUP, 0.3) == []


def test_a_tun_upstream_carries_reports_out_and_datagrams_in(lab, stack):
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "tun0", "-d", "down0", "-d", "down1"))
    members = [stack.enter_context(Member(receiver, GROUP)) for receiver in lab.receivers]
    for port in lab.downstreams:
        mcfwd.wait_member(port, GROUP, 10.0)
    report = far.read_igmp(REPORT_V3)
    assert (report[8], report[12:16]) == (1, socket.inet_aton(NEAR))
    assert socket.inet_aton(GROUP) in report
    sent = payloads(list(range(1, 1473, 9)))
    with Capture(lab.receivers[0], protocol=UDP) as capture:
        far.write(*(udp("203.0.113.9", GROUP, each, identification=n) for n, each in enumerate(sent)))
        assert [member.receive(len(sent)) for member in members] == [sent, sent]
        frames = wait_for(lambda: carried(capture, GROUP, len(sent)), 5.0, "frames")
    mac = bytes.fromhex(links.attribute(lab.router, "down0", "IFLA_ADDRESS").replace(":", ""))
    assert {frame.octets[:14] for frame in frames} == {group_mac(GROUP) + mac + b"\x08\x00"}
    assert {(frame.ttl, checksum(frame.packet[:20]), udp_sum(frame.packet)) for frame in frames} == {(15, 0, 0)}


def test_a_tun_upstream_counts_what_it_drops(lab, stack):
    far = tunnel(stack, lab.router)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "tun0", "-d", "down0"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    far.write(
        udp(FAR, GROUP, header_sum=1),
        udp(FAR, GROUP, length=900),
        udp(FAR, GROUP, ttl=1),
        udp("127.0.0.1", GROUP),
        udp(NEAR, GROUP),
        udp("192.168.10.9", GROUP),
        udp(FAR, "239.7.7.7"),
        udp(FAR, GROUP, b"good"),
    )
    assert member.receive(1) == [b"good"]
    expected = {"malformed": 2, "ttl_expired": 1, "bad_source": 2, "wrong_interface": 1, "no_members": 1}
    row = mcfwd.wait_for(lambda _: dropped(mcfwd, "tun0", expected), 5.0, f"exactly {expected}")
    assert (row["rx_packets"], row["link_type"], row["state"], row["role"]) == (8, "none", "up", "upstream")
    assert member.rest() == []


def dropped(mcfwd: Mcfwd, name: str, expected: dict[str, int]):
    """The row of an interface when exactly `expected` was dropped there."""
    row = mcfwd.interface(name)
    return row if {reason: count for reason, count in row["drops"].items() if count} == expected else None


def test_a_source_behind_a_downstream_port_is_carried_out_by_a_tun_upstream(lab, stack):
    far = tunnel(stack, lab.router)
    stack.enter_context(Mcfwd(lab.router, "-u", "tun0", "-d", "down0"))
    with Source(lab.receivers[0]) as source:
        source.send(GROUP, *payloads(SIZES))
    packets = far.read(len(SIZES), GROUP)
    assert [payload(packet) for packet in packets] == payloads(SIZES)
    assert {(packet[8], checksum(packet[:20]), udp_sum(packet)) for packet in packets} == {(15, 0, 0)}


def test_from_tun_to_tun(lab, stack):
    left = tunnel(stack, lab.router, "tun0", "10.9.0.1")
    right = tunnel(stack, lab.router, "tun1", "10.9.1.1")
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "tun0", "-d", "tun1"))
    behind(right, mcfwd, "tun1", "10.9.1.2")
    left.write(*(udp(FAR, GROUP, each) for each in payloads(SIZES)))
    packets = right.read(len(SIZES), GROUP)
    assert packets == [udp(FAR, GROUP, each, ttl=15) for each in payloads(SIZES)]
    right.write(*(udp("10.9.1.2", GROUP, each) for each in payloads(SIZES)))
    assert left.read(len(SIZES), GROUP) == [udp("10.9.1.2", GROUP, each, ttl=15) for each in payloads(SIZES)]


def test_a_tun_that_goes_and_comes_back_is_a_port_again(lab, stack):
    fd = links.tun(lab.router, "tun0")
    links.up(lab.router, "tun0")
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "tun0"))
    os.close(fd)
    mcfwd.wait_for(lambda _: mcfwd.interface("tun0")["state"] == "missing", 10.0, "tun0 gone")
    far = tunnel(stack, lab.router)
    mcfwd.wait_for(lambda _: mcfwd.interface("tun0")["state"] == "up", 10.0, "tun0 back")
    far.read_igmp(QUERY)
    behind(far, mcfwd)
    with Source(lab.source) as source:
        source.send(GROUP, b"again")
        assert [payload(packet) for packet in far.read(1, GROUP)] == [b"again"]


# --- tap ---


def test_a_tap_downstream_reads_frames_with_finished_checksums(lab, stack):
    tap = tunnel(stack, lab.router, "tap0")
    mac = bytes.fromhex(links.attribute(lab.router, "tap0", "IFLA_ADDRESS").replace(":", ""))
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "tap0"))
    os.write(tap.fd, group_mac(GROUP) + b"\x02\0\0\0\0\x05" + b"\x08\x00" + v2_report(FAR, GROUP))
    mcfwd.wait_member("tap0", GROUP, 10.0)
    with Source(lab.source, segment=700) as source:
        source.send(GROUP, NOISE[:2100])
    frames: list[bytes] = []
    while len(frames) < 3:
        frame = os.read(tap.fd, 65536)
        if frame[12:14] == b"\x08\x00" and frame[23] == 17:
            frames.append(frame)
    assert [frame[:14] for frame in frames] == [group_mac(GROUP) + mac + b"\x08\x00"] * 3
    assert [payload(frame[14:]) for frame in frames] == [NOISE[at : at + 700] for at in (0, 700, 1400)]
    assert {(checksum(frame[14:34]), udp_sum(frame[14:])) for frame in frames} == {(0, 0)}


# --- bridge, macvlan, VLAN, tunnels of the kernel ---


def check(mcfwd: Mcfwd, lab: Lab, member: Member, ports: tuple[str, str], interface: str = LINK) -> None:
    """What the source sends on `interface` is received once, in by the first port and out by the second."""
    sent = payloads([*SIZES, 4000])
    with Source(lab.source, interface) as source:
        source.send(GROUP, *sent)
    with Source(lab.source, interface, segment=400) as source:
        source.send(GROUP, NOISE[:2000])
    sent += [NOISE[at : at + 400] for at in range(0, 2000, 400)]
    assert member.receive(len(sent)) == sent
    assert member.rest() == []
    flow = next(row for row in mcfwd.show("flows") if row["group"] == GROUP)
    assert (flow["upstream"], flow["downstreams"]) == (ports[0], [ports[1]])


@pytest.mark.parametrize("snooping", [False, True])
def test_a_bridge_is_a_downstream_port(lab, stack, snooping):
    move_to_bridge(lab.router, "down0", "192.168.10.1/24", snooping)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "br0"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("br0", GROUP, 10.0)
    check(mcfwd, lab, member, ("up0", "br0"))


@pytest.mark.parametrize("snooping", [False, True])
def test_a_bridge_is_an_upstream_port(lab, stack, snooping):
    move_to_bridge(lab.router, "up0", f"{UPSTREAM}/24", snooping)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "br0", "-d", "down0"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    check(mcfwd, lab, member, ("br0", "down0"))


def move_to_bridge(namespace: Namespace, port: str, address: str, snooping: bool) -> None:
    """A bridge br0 with one port takes its place."""
    links.delete_address(namespace, port, address)
    links.bridge(namespace, "br0", [port], snooping=snooping)
    links.add_address(namespace, "br0", address)
    links.wait_up(namespace, "br0")


def test_macvlans_are_ports_in_both_directions(lab, stack):
    for name, parent, address in (("mac0", "up0", f"{UPSTREAM}/24"), ("mac1", "down0", "192.168.10.1/24")):
        links.delete_address(lab.router, parent, address)
        links.macvlan(lab.router, name, parent)
        links.add_address(lab.router, name, address)
        links.wait_up(lab.router, name)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "mac0", "-d", "mac1"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("mac1", GROUP, 10.0)
    check(mcfwd, lab, member, ("mac0", "mac1"))


def vlan(namespace: Namespace, parent: str, number: int, address: str) -> str:
    """A VLAN link on `parent`, up; its name. Skips where the kernel has none."""
    name, index = f"{parent}.{number}", links.index(namespace, parent)
    try:
        links.netlink(namespace, lambda ip: ip.link("add", ifname=name, kind="vlan", link=index, vlan_id=number))
    except NetlinkError as error:
        pytest.skip(f"no VLANs here: {error}")
    links.add_address(namespace, name, address)
    links.up(namespace, name)
    links.wait_up(namespace, name)
    return name


def test_vlans_are_ports_in_both_directions(lab, stack):
    sender = vlan(lab.source, LINK, 5, "10.5.0.1/24")
    upstream = vlan(lab.router, "up0", 5, "10.5.0.2/24")
    downstream = vlan(lab.router, "down0", 6, "10.6.0.1/24")
    receiver = vlan(lab.receivers[0], LINK, 6, "10.6.0.2/24")
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", upstream, "-d", downstream))
    member = stack.enter_context(Member(lab.receivers[0], GROUP, receiver))
    mcfwd.wait_member(downstream, GROUP, 10.0)
    check(mcfwd, lab, member, (upstream, downstream), sender)


@pytest.mark.parametrize("known", [False, True], ids=["unknown to the router", "with a link of its own"])
def test_tagged_frames_do_not_leak_into_the_trunk(lab, stack, known):
    if known:
        vlan(lab.router, "up0", 5, "10.5.0.2/24")
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    with Injector(lab.source) as injector:
        injector.send_frame(tagged(udp(SOURCE, GROUP, b"another network's"), 5))
        injector.send_frame(tagged(udp(SOURCE, GROUP, b"a priority, no network"), 3 << 13))
        injector.send(udp(SOURCE, GROUP, b"untagged"))
    assert member.receive(2) + member.rest() == [b"a priority, no network", b"untagged"]
    assert mcfwd.interface("up0")["rx_packets"] == 2


def tagged(packet: bytes, control: int) -> bytes:
    """The packet in a frame with an 802.1Q tag: three bits of priority, one more, and the VLAN."""
    frame = ethernet(packet)
    return frame[:12] + b"\x81\x00" + control.to_bytes(2, "big") + frame[12:]


@pytest.mark.parametrize("kind", ["ipip", "gre"])
def test_a_tunnel_of_the_kernel_is_an_upstream_port(lab, stack, kind):
    for namespace, local, remote, address in (
        (lab.source, SOURCE, UPSTREAM, f"{FAR}/24"),
        (lab.router, UPSTREAM, SOURCE, f"{NEAR}/24"),
    ):
        make_tunnel(namespace, kind, local, remote, address)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "tunl", "-d", "down0"))
    member = stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP, 10.0)
    sent = payloads([1, 100, 1400])
    with Source(lab.source, "tunl") as source:
        source.send(GROUP, *sent)
    assert member.receive(3) + member.rest() == sent
    with Source(lab.receivers[0]) as source, Capture(lab.source, "tunl", UDP) as capture:
        source.send(GROUP, b"outward")
        frame = capture.wait_for(lambda frame: frame.destination == GROUP, 5.0)
    assert (frame.packet[28:], frame.ttl) == (b"outward", 15)


def make_tunnel(namespace: Namespace, kind: str, local: str, remote: str, address: str) -> None:
    """A tunnel `tunl` of the kernel with an address, up; skips where the kernel has none of that kind."""
    attributes = {f"{kind}_local": local, f"{kind}_remote": remote, f"{kind}_ttl": 16}
    try:
        links.netlink(namespace, lambda ip: ip.link("add", ifname="tunl", kind=kind, **attributes))
    except NetlinkError as error:
        pytest.skip(f"no {kind} here: {error}")
    links.configure(namespace, "tunl", flags=0x1000, change=0x1000)  # IFF_MULTICAST
    links.add_address(namespace, "tunl", address)
    links.up(namespace, "tunl")
