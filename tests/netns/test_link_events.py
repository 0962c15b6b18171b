"""Links that come, go and change under a running mcfwd: it goes on by itself and confuses none with another."""

import signal
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture, reported_groups
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, UPSTREAM

GROUP, OTHER = "239.1.1.1", "239.1.1.2"
RATE = 1000.0
SOON = 10.0  # seconds in which all must have settled on a busy machine
IGMP_TIMERS = """
[igmp]
query_interval = 2.0
query_response_interval = 0.5
startup_query_interval = 0.4
last_member_query_interval = 0.2
"""


@pytest.fixture
def timers(tmp_path):
    """A file that shortens the protocol's timers: hosts may take their time to answer a query."""
    file = tmp_path / "timers.toml"
    file.write_text(IGMP_TIMERS)
    return str(file)


@pytest.fixture
def running(lab, start_mcfwd, timers):
    """A lab with two receivers, and mcfwd on all its links; no process may have been replaced, none complained."""
    mcfwd = start_mcfwd(lab, "-c", timers)
    pids = mcfwd.pids
    yield lab, mcfwd
    assert mcfwd.pids == pids
    assert "Traceback" not in mcfwd.read_log()


@pytest.fixture
def stream(lab):
    """An endless stream to GROUP."""
    with Sender(lab.source, GROUP, rate=RATE) as sender:
        yield sender


def state(mcfwd: Mcfwd, name: str) -> str | None:
    return next((str(row["state"]) for row in mcfwd.show("interfaces") if row["name"] == name), None)


def wait_state(mcfwd: Mcfwd, name: str, wanted: str | None) -> None:
    mcfwd.wait_for(lambda _: state(mcfwd, name) == wanted, SOON, f"{name} {wanted}")


def indexes(mcfwd: Mcfwd) -> dict[str, int]:
    return {row["name"]: row["index"] for row in mcfwd.show("interfaces")}


def assert_flows(receiver: Receiver, count: int = 200) -> None:
    """`count` datagrams more reach the receiver, none of them twice."""
    before = receiver.report().total("received")
    assert receiver.wait_received(before + count, SOON).total("duplicated") == 0


def neighbour(stack: ExitStack, router: Namespace, port: str, network: str) -> Namespace:
    """A new namespace behind a new link `port` of the router."""
    far = stack.enter_context(Namespace(f"behind {port}"))
    links.veth(router, port, far, LINK)
    for namespace, name, address in ((router, port, f"{network}.1/24"), (far, LINK, f"{network}.11/24")):
        links.add_address(namespace, name, address)
        links.up(namespace, name)
    links.wait_up(far, LINK)
    links.add_default_route(far, f"{network}.1")
    return far


# coming and going


def test_an_interface_that_does_not_exist_yet_is_waited_for(lab, start_mcfwd, timers, stream):
    links.delete(lab.router, "down1")
    mcfwd = start_mcfwd(lab, "-c", timers)
    assert state(mcfwd, "down1") == "missing"
    lab.connect(1)
    with Receiver(lab.receivers[1], GROUP) as receiver:
        assert_flows(receiver)
    assert "Traceback" not in mcfwd.read_log()


# RFC 4541 2.1.1 g
def test_a_downstream_link_that_goes_down_and_up_resumes(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver, Receiver(lab.receivers[1], GROUP) as other:
        assert_flows(receiver)
        assert_flows(other)
        links.down(lab.router, "down0")
        wait_state(mcfwd, "down0", "down")
        mcfwd.wait_for(lambda _: mcfwd.group("down0", GROUP) is None, SOON, "membership purged")
        assert_flows(other)
        links.up(lab.router, "down0")
        assert_flows(receiver)
        assert other.report().total("lost") == 0


def test_the_upstream_link_that_goes_down_and_up_resumes(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver, Capture(lab.source, protocol=IGMP) as upstream:
        assert_flows(receiver)
        links.down(lab.router, "up0")
        wait_state(mcfwd, "up0", "down")
        assert mcfwd.group("down0", GROUP) is not None
        links.up(lab.router, "up0")
        assert_flows(receiver)
        wait_state(mcfwd, "up0", "up")
        reports = upstream.select(lambda frame: GROUP in reported_groups(frame))
        upstream.wait_for(
            lambda frame: GROUP in reported_groups(frame) and frame not in reports, SOON, "report after the link"
        )


def test_a_downstream_link_that_is_deleted_and_made_again_resumes_under_its_index(running, stream):
    lab, mcfwd = running
    before, former = indexes(mcfwd), links.index(lab.router, "down0")
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
        links.delete(lab.router, "down0")
        wait_state(mcfwd, "down0", "missing")
        mcfwd.wait_for(lambda _: mcfwd.group("down0", GROUP) is None, SOON, "membership purged")
    lab.connect(0)
    assert links.index(lab.router, "down0") != former
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
    assert indexes(mcfwd) == before


def test_the_upstream_link_that_is_deleted_and_made_again_resumes_with_its_groups(running, stack):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver:
        mcfwd.wait_member("down0", GROUP)
        for _ in range(2):
            links.delete(lab.router, "up0")
            wait_state(mcfwd, "up0", "missing")
            source = neighbour(stack, lab.router, "up0", "10.0.0")
            receiver.reset()
            with Capture(source) as upstream, Sender(source, GROUP, rate=RATE):
                assert_flows(receiver)
                upstream.wait_for(lambda frame: GROUP in reported_groups(frame), SOON, "report")


def test_a_link_that_is_renamed_away_and_back_resumes(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
        for _ in range(2):
            links.rename(lab.router, "down0", "away0")
            wait_state(mcfwd, "down0", "missing")
            quiet = receiver.settle().total("received")
            assert receiver.report().total("received") == quiet
            links.rename(lab.router, "away0", "down0")
            assert_flows(receiver)


def test_a_link_that_is_renamed_away_and_back_at_once_resumes(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
        for _ in range(20):
            links.rename(lab.router, "down0", "away0")
            links.rename(lab.router, "away0", "down0")
        wait_state(mcfwd, "down0", "up")
        assert_flows(receiver)


def test_links_that_come_and_go_beside_a_stream_cost_it_nothing(running, stack):
    lab, mcfwd = running
    receiver = stack.enter_context(Receiver(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP)
    stack.enter_context(Sender(lab.source, GROUP, rate=5000))
    assert_flows(receiver)
    for _ in range(10):
        links.delete(lab.router, "down1")
        lab.connect(1)
    with Receiver(lab.receivers[1], GROUP) as other:
        assert_flows(other)
    report = receiver.report()
    assert (report.total("lost"), report.total("duplicated")) == (0, 0)


# changing


def test_a_changed_address_is_the_queriers_at_once(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP) as receiver, Capture(lab.receivers[0]) as capture:
        assert_flows(receiver)
        lab.router.sysctl("ipv4/conf/down0/promote_secondaries", 1)
        links.add_address(lab.router, "down0", "192.168.10.2/24")
        links.delete_address(lab.router, "down0", "192.168.10.1/24")
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["address"] == "192.168.10.2", SOON, "new address")
        capture.wait_for(lambda frame: frame.source == "192.168.10.2" and frame.payload[0] == 0x11, SOON, "query")
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["querier_address"] == "192.168.10.2", SOON, "new querier")
        assert_flows(receiver)
        assert receiver.report().total("lost") == 0


def test_an_address_that_comes_later_is_asked_from(lab, start_mcfwd, timers, stream):
    links.delete_address(lab.router, "down0", "192.168.10.1/24")
    mcfwd = start_mcfwd(lab, "-c", timers)
    assert (mcfwd.interface("down0")["querier"], mcfwd.interface("down0")["querier_address"]) == (True, "0.0.0.0")
    with Receiver(lab.receivers[0], GROUP) as receiver:
        links.add_address(lab.router, "down0", "192.168.10.1/24")
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["querier_address"] == "192.168.10.1", SOON, "its address")
        assert_flows(receiver)
    assert "Traceback" not in mcfwd.read_log()


# RFC 9776 4.2.14 a
def test_reports_upstream_come_from_a_changed_address(running):
    lab, mcfwd = running
    with Capture(lab.source) as upstream:
        links.delete_address(lab.router, "up0", f"{UPSTREAM}/24")
        links.add_address(lab.router, "up0", "10.0.0.3/24")
        mcfwd.wait_for(lambda _: mcfwd.interface("up0")["address"] == "10.0.0.3", SOON, "new address")
        with Receiver(lab.receivers[0], GROUP):
            report = upstream.wait_for(lambda frame: GROUP in reported_groups(frame), SOON, "report")
    assert report.source == "10.0.0.3"


def test_a_smaller_mtu_is_kept_to_without_a_restart(running, stream):
    lab, mcfwd = running
    with Receiver(lab.receivers[0], GROUP, verify=True) as receiver, Capture(lab.receivers[0], protocol=UDP) as capture:
        assert_flows(receiver)
        links.configure(lab.router, "down0", mtu=700)
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["mtu"] == 700, SOON, "new MTU")
        capture.wait_for(lambda frame: len(frame.packet) <= 700, SOON, "fragment")
        assert_flows(receiver)
        links.configure(lab.router, "down0", mtu=1500)
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["mtu"] == 1500, SOON, "old MTU")
        assert_flows(receiver)
        assert receiver.report().total("altered") == 0


def test_a_changed_mac_address_is_on_every_frame_soon(running, stream):
    lab, mcfwd = running
    mac = "02:00:00:00:0a:99"
    octets = bytes.fromhex(mac.replace(":", ""))
    with Receiver(lab.receivers[0], GROUP) as receiver, Capture(lab.receivers[0], protocol=None) as capture:
        assert_flows(receiver)
        links.configure(lab.router, "down0", address=mac)
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["mac"] == mac, SOON, "new MAC")
        capture.wait_for(lambda frame: frame.destination == GROUP and frame.octets[6:12] == octets, SOON, "new MAC")
        assert_flows(receiver)
        receiver.leave(GROUP)
        query = capture.wait_for(
            lambda frame: frame.packet[9:10] == b"\x02" and not frame.outgoing and frame.destination == GROUP, SOON
        )
        assert query.octets[6:12] == octets


# identity


def test_an_interface_that_takes_a_deleted_ones_ifindex_is_not_taken_for_it(running, stack, stream):
    lab, mcfwd = running
    before, former = indexes(mcfwd), links.index(lab.router, "down0")
    other = stack.enter_context(Receiver(lab.receivers[1], GROUP))
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
        assert_flows(other)
        links.delete(lab.router, "down0")
    stranger = stack.enter_context(Namespace("stranger"))
    peer = {"ifname": LINK, "net_ns_fd": stranger.fd}
    links.netlink(lab.router, lambda ip: ip.link("add", ifname="x0", kind="veth", index=former, peer=peer))
    for namespace, name in ((lab.router, "x0"), (stranger, LINK)):
        links.up(namespace, name)
    links.wait_up(stranger, LINK)
    assert links.index(lab.router, "x0") == former
    with Capture(stranger, protocol=None) as capture:
        wait_state(mcfwd, "down0", "missing")
        assert mcfwd.group("down0", GROUP) is None
        assert_flows(other, 1000)
        assert [frame for frame in capture.frames if frame.destination.startswith(("239.", "224.0.0.1"))] == []
    assert indexes(mcfwd) == before
    lab.connect(0)
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
    assert indexes(mcfwd) == before


def test_a_link_that_was_elsewhere_and_is_back_before_anybody_looked_resumes(running, stack, stream):
    """Its name and its index are what they were, but the sockets that were bound to it are dead."""
    lab, mcfwd = running
    elsewhere = stack.enter_context(Namespace("elsewhere"))
    former = links.index(lab.router, "down0")
    with Receiver(lab.receivers[0], GROUP) as receiver:
        assert_flows(receiver)
        mcfwd.process.send_signal(signal.SIGSTOP)
        try:
            links.configure(lab.router, "down0", net_ns_fd=elsewhere.fd)
            links.configure(elsewhere, "down0", net_ns_fd=lab.router.fd)
            links.add_address(lab.router, "down0", "192.168.10.1/24")
            links.up(lab.router, "down0")
            assert links.index(lab.router, "down0") == former
        finally:
            mcfwd.process.send_signal(signal.SIGCONT)
        assert_flows(receiver)
        mcfwd.wait_member("down0", GROUP, SOON)
        receiver.leave(GROUP)
        mcfwd.wait_for(lambda _: mcfwd.group("down0", GROUP) is None, SOON, "leave heard by the other socket")


def test_two_links_that_swap_their_names_swap_their_ports(running, stream):
    lab, mcfwd = running
    before = indexes(mcfwd)
    with Receiver(lab.receivers[0], GROUP) as receiver, Capture(lab.receivers[1], protocol=UDP) as elsewhere:
        assert_flows(receiver)
        for former, new in (("down0", "swap"), ("down1", "down0"), ("swap", "down1")):
            links.rename(lab.router, former, new)
        mcfwd.wait_for(lambda _: mcfwd.interface("down1")["address"] == "192.168.10.1", SOON, "swapped")
        mcfwd.wait_member("down1", GROUP, SOON)
        mcfwd.wait_for(lambda _: mcfwd.group("down0", GROUP) is None, SOON, "former membership purged")
        stray = len(elsewhere.frames)
        assert_flows(receiver, 500)
        assert len(elsewhere.frames) == stray
    assert indexes(mcfwd) == before


WILDCARD = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "tap*"
role = "downstream"
[dataplane]
max_ports = 3
""" + IGMP_TIMERS


@pytest.fixture
def wild(make_lab, stack, tmp_path):
    """A lab, and mcfwd that serves any tap* in its router, but two at most."""
    lab, file = make_lab(1), tmp_path / "mcfwd.toml"
    file.write_text(WILDCARD)
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
    stack.enter_context(Sender(lab.source, GROUP, OTHER, rate=2 * RATE))
    yield lab, mcfwd
    assert "Traceback" not in mcfwd.read_log()


def test_interfaces_of_a_wildcard_come_and_go(wild, stack):
    lab, mcfwd = wild
    assert list(indexes(mcfwd)) == ["up0"]
    for _ in range(2):
        with Receiver(neighbour(stack, lab.router, "tap0", "192.168.70"), GROUP) as receiver:
            assert_flows(receiver)
            assert indexes(mcfwd) == {"up0": 0, "tap0": 1}
            links.delete(lab.router, "tap0")
            wait_state(mcfwd, "tap0", None)
            assert mcfwd.show("groups") == []


def test_a_reused_index_inherits_nothing(wild, stack):
    lab, mcfwd = wild
    former = [neighbour(stack, lab.router, f"tap{number}", f"192.168.{70 + number}") for number in (0, 1)]
    receivers = [stack.enter_context(Receiver(each, GROUP)) for each in former]
    for receiver in receivers:
        assert_flows(receiver)
    carried = {row["index"]: row["tx_packets"] for row in mcfwd.show("interfaces")}
    for name in ("tap0", "tap1"):
        links.delete(lab.router, name)
    new = neighbour(stack, lab.router, "tap7", "192.168.77")
    with Capture(new, protocol=UDP) as capture:
        wait_state(mcfwd, "tap7", "up")
        row = mcfwd.interface("tap7")
        assert row["index"] in (1, 2)
        assert row["tx_packets"] < carried[row["index"]]
        with Receiver(new, OTHER) as receiver:
            assert_flows(receiver)
            assert [group["group"] for group in mcfwd.show("groups")] == [OTHER]
        assert {frame.destination for frame in capture.frames} == {OTHER}


def test_a_reused_index_inherits_nothing_while_the_agent_is_frozen(wild, stack):
    lab, mcfwd = wild
    for number in (0, 1):
        far = neighbour(stack, lab.router, f"tap{number}", f"192.168.{70 + number}")
        receiver = stack.enter_context(Receiver(far, GROUP))
        assert_flows(receiver)
    agent = mcfwd.kill("mcfwd-agent", signal.SIGSTOP)
    try:
        links.delete(lab.router, "tap0")
        new = neighbour(stack, lab.router, "tap7", "192.168.77")
        with Capture(new, protocol=UDP) as capture:
            wait_state(mcfwd, "tap7", "up")
            assert_flows(receiver, 1000)
            assert capture.frames == []
            assert mcfwd.pids["mcfwd-agent"] == agent
    finally:
        mcfwd.kill("mcfwd-agent", signal.SIGCONT)
    with Receiver(new, OTHER) as late:
        assert_flows(late)
    assert_flows(receiver)


def test_a_link_whose_name_is_not_text_is_served_under_one_that_is(lab, start_mcfwd, timers):
    """The kernel takes any octets: one such link in the namespace must not be the end of it."""
    mcfwd = start_mcfwd(lab, "-c", timers, "-d", "odd*")
    pids = mcfwd.pids
    odd, far = b"odd\xff\xfe", "far0"

    def ip(*words: str | bytes) -> None:
        assert lab.router.popen(["ip", "link", *words]).wait(20.0) == 0

    ip("add", odd, "type", "veth", "peer", "name", far)
    for name in (odd, far):
        ip("set", name, "up")
    wait_state(mcfwd, "odd\\xff\\xfe", "up")
    ip("del", far)
    wait_state(mcfwd, "odd\\xff\\xfe", None)
    assert mcfwd.pids == pids
    assert mcfwd.show("stats")["faults"] == 0, mcfwd.read_log()


def test_a_reload_knows_links_that_nobody_has_told_of(lab, tmp_path):
    """Changes of links that no entry named were heard and passed over."""
    file = tmp_path / "mcfwd.toml"

    def write(name: str) -> None:
        tables = [f'[[interface]]\nname = "{each}"\nrole = "{role}"\n' for each, role in
                  (("up0", "upstream"), (name, "downstream"))]  # fmt: skip
        file.write_text("\n".join(tables))

    write("down1")
    with Mcfwd(lab.router, "-c", str(file)) as mcfwd:
        links.delete(lab.router, "down0")
        lab.connect(0)
        links.configure(lab.router, "down0", mtu=1400)
        write("down0")
        assert mcfwd.request("POST", "/v1/reload") == (201, {})
        row = mcfwd.interface("down0")
        assert (row["state"], row["mtu"], row["address"]) == ("up", 1400, "192.168.10.1")
        write("lo")
        status, answer = mcfwd.request("POST", "/v1/reload")
        assert status >= 400, answer
        mcfwd.wait_for(lambda _: list(indexes(mcfwd)) == ["up0", "down0"], SOON)


def test_ports_that_swap_their_roles_swap_their_rings(lab, tmp_path):
    """Upstream rings are blocks, downstream ones slots; what is forwarded the other way round is carried by them."""
    file = tmp_path / "mcfwd.toml"

    def write(upstream: str, downstream: str) -> None:
        ports = ((upstream, "upstream"), (downstream, "downstream"))
        tables = [f'[[interface]]\nname = "{name}"\nrole = "{role}"\naltnets = ["0.0.0.0/0"]\n' for name, role in ports]
        file.write_text(IGMP_TIMERS + "\n".join(tables))

    first, second = lab.upstream, lab.downstreams[0]
    write(first, second)
    with Mcfwd(lab.router, "-c", str(file)) as mcfwd:
        pids = mcfwd.pids

        def rings() -> list[str | None]:
            return [mcfwd.interface(name)["ring"] for name in (first, second)]

        mcfwd.wait_for(lambda _: rings() == ["blocks", "slots"], SOON, "the rings of these roles")
        write(second, first)
        assert mcfwd.request("POST", "/v1/reload") == (201, {})
        mcfwd.wait_for(lambda _: rings() == ["slots", "blocks"], SOON, "the rings of the other roles")
        with Receiver(lab.source, GROUP) as receiver, Sender(lab.receivers[0], GROUP, rate=RATE):
            receiver.wait_received(200, SOON)
        assert mcfwd.pids == pids


# many at once

TAPS = 60       # 300 take a minute to be made and removed here; python -m bench.changes does that


def test_many_interfaces_come_are_changed_and_go_beside_a_stream(lab, stack, tmp_path):
    """With renames, addresses and MTUs; notices may overrun the socket, and the rings stay within their bound."""
    file = tmp_path / "mcfwd.toml"
    file.write_text(f'[[interface]]\nname = "tap*"\n[dataplane]\nmax_ports = 128\nring_memory = "64MiB"\n{IGMP_TIMERS}')
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0", "-c", str(file)))
    receiver = stack.enter_context(Receiver(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP)
    stack.enter_context(Sender(lab.source, GROUP, rate=2000))
    names = [f"tap{number}" for number in range(TAPS)]
    links.crowd(lab.router, names)
    mcfwd.wait_for(lambda _: served(mcfwd) == {"up0", "down0", *names}, SOON, "all of them")
    for number, name in enumerate(names):
        links.configure(lab.router, name, mtu=1300 + number)
        links.add_address(lab.router, name, f"10.77.{number}.1/24")
    for name in names[:10]:
        links.rename(lab.router, name, name.replace("tap", "tapx"))
    renamed = {name.replace("tap", "tapx") for name in names[:10]} | set(names[10:])
    mcfwd.wait_for(lambda _: served(mcfwd) == {"up0", "down0", *renamed}, SOON, "the renamed")
    mtus = {row["name"]: row["mtu"] for row in mcfwd.show("interfaces")}
    assert (mtus["tapx0"], mtus[f"tap{TAPS - 1}"]) == (1300, 1300 + TAPS - 1)
    stats = mcfwd.show("stats")
    assert stats["ring_memory_used"] <= stats["ring_memory"] == 64 << 20
    for name in renamed:
        links.delete(lab.router, name)
    mcfwd.wait_for(lambda _: served(mcfwd) == {"up0", "down0"}, SOON, "none of them")
    assert_flows(receiver)
    report = receiver.report()
    assert (report.total("lost"), report.total("duplicated")) == (0, 0)
    assert "Traceback" not in mcfwd.read_log()


def served(mcfwd) -> set[str]:
    """The interfaces that are up and have all that they need."""
    return {row["name"] for row in mcfwd.show("interfaces") if row["state"] == "up" and not row["degraded"]}
