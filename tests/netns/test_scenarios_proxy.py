"""Scenarios 1 to 12: what a proxy tells its upstream link of what its downstream links want.

| scenario | proven by |
|---|---|
| 1 a join is reported upstream, repeated, the stream flows | test_membership: a_join_is_reported…; here: repetition |
| 2 upstream is left after the last link, not before | test_membership: a_second_link_gets_the_stream… |
| 3 a silent member ends after the group membership interval | test_membership: a_version_1_receiver_that_leaves… |
| 4, 7, 9, 10 | here |
| 5, 6, 8, 11 lists and several upstreams | here |
| 12 link-local groups | test_queries: link_local_groups_are_not_tracked…; here: SSDP |
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture, reported_groups
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, UPSTREAM, Lab
from forwarder.lab.wait import wait_for
from netns.frames import Injector, Source, udp
from netns.scenarios import (
    LATE,
    SOON,
    Neighbour,
    neighbours,
    record,
    running_site,
    udp_capture,
    wait_counter,
    wait_group,
    wait_no_group,
)
from netns.site import CONFIGURATION, Site, told

S1, S2 = "10.0.0.101", "10.0.0.102"
SSDP = "239.255.255.250"
REPEAT = 0.2                    # unsolicited report interval of CONFIGURATION, seconds


@pytest.fixture(scope="module")
def proxying() -> Iterator[Site]:
    """Two downstream links, no senders; tests speak for the hosts."""
    with running_site(CONFIGURATION) as site:
        yield site


@pytest.fixture
def hosts(proxying: Site, stack: ExitStack) -> list[Neighbour]:
    """A host on each downstream link."""
    return neighbours(proxying, stack)


def upstream_row(site: Site, group: str):
    """The row of `show upstream` of a group; None where there is none."""
    return next(iter(site.show("upstream", group)), None)


# RFC 9776 5.1 g
@pytest.mark.parametrize("version", [1, 2, 3])
def test_01_a_join_of_any_version_is_reported_upstream_as_often_as_robustness_says(proxying, hosts, version):
    group = proxying.new_group()
    if version == 3:
        hosts[0].report(record("TO_EX", group))
    else:
        hosts[0].report_old(version, group)
    wait_for(lambda: len(proxying.told_upstream(group)) == 2, SOON, "repetition")
    first, second = proxying.told_upstream(group)
    assert (first.kind, first.sources) == (second.kind, second.sources) == ("TO_EX", ())
    assert 0 < second.time - first.time < REPEAT + LATE
    # What is said of another group later shows that nothing more was to be said of this one.
    hosts[1].report(record("TO_EX", other := proxying.new_group()))
    wait_for(lambda: len(proxying.told_upstream(other)) == 2, SOON, "another group")
    assert len(proxying.told_upstream(group)) == 2


def test_04_a_channel_that_ends_under_an_open_membership_changes_nothing_upstream(proxying, hosts):
    group = proxying.new_group()
    hosts[0].report(record("TO_EX", group))
    proxying.wait_told(group, "TO_EX")
    hosts[1].report(record("ALLOW", group, S1))
    wait_group(proxying, "down1", group)
    hosts[1].report(record("BLOCK", group, S1))
    wait_no_group(proxying, "down1", group)
    row = upstream_row(proxying, group)
    assert (row["mode"], row["sources"]) == ("exclude", [])
    assert proxying.changes_upstream(group) == [("TO_EX", ())]


def test_07_an_upstream_link_that_is_configured_later_hears_of_all_memberships_at_once(stack):
    spare = '[[interface]]\nname = "spare0"\nrole = "upstream"\n'
    downstream = '[[interface]]\nname = "down0"\n[[interface]]\nname = "down1"\n'
    site = stack.enter_context(running_site(spare + downstream + CONFIGURATION))
    hosts = neighbours(site, stack)
    one, two, channel = site.new_group(), site.new_group(), "232.1.1.7"
    hosts[0].report(record("TO_EX", one), record("ALLOW", channel, S1))
    hosts[1].report_old(2, two)
    for port, group in (("down0", one), ("down0", channel), ("down1", two)):
        wait_group(site, port, group)
    assert site.told_upstream() == []

    site.file.write_text(spare + spare.replace("spare0", "up0") + downstream + CONFIGURATION)
    site.mcfwd.process.send_signal(signal.SIGHUP)
    site.wait_told(one, "TO_EX")
    records = [(each.kind, each.group, each.sources) for each in site.told_upstream()]
    assert set(records[:3]) == {("TO_EX", one, ()), ("TO_EX", two, ()), ("ALLOW", channel, (S1,))}
    assert site.told_upstream()[0].time == site.told_upstream()[2].time


def test_09_upstream_is_asked_for_what_is_new_and_told_of_what_nobody_wants_any_more(proxying, hosts):
    shared, alone = proxying.new_group(), proxying.new_group()
    hosts[0].report(record("ALLOW", shared, S1), record("ALLOW", alone, S1))
    proxying.wait_told(shared, "ALLOW", S1)
    hosts[1].report(record("ALLOW", shared, S1, S2))
    proxying.wait_told(shared, "ALLOW", S2)

    links.down(proxying.lab.router, "down0")
    try:
        proxying.wait_told(alone, "BLOCK", S1)
    finally:
        links.up(proxying.lab.router, "down0")
    hosts[1].report(record("BLOCK", shared, S2))
    proxying.wait_told(shared, "BLOCK", S2)
    assert proxying.changes_upstream(alone) == [("ALLOW", (S1,)), ("BLOCK", (S1,))]
    # Repetitions of what is pending are joined with what is new.
    said = set(proxying.changes_upstream(shared))
    assert said <= {("ALLOW", (S1,)), ("ALLOW", (S2,)), ("ALLOW", (S1, S2)), ("BLOCK", (S2,))}
    assert upstream_row(proxying, shared)["sources"] == [S1]
    links.wait_up(proxying.lab.router, "down0")


def test_10_nothing_is_reported_by_a_link_that_is_removed_and_all_is_when_it_is_back(stack):
    site = stack.enter_context(running_site(CONFIGURATION))
    group, mcfwd = site.new_group(), site.mcfwd
    receiver = stack.enter_context(Receiver(site.lab.receivers[0], group))
    with Sender(site.lab.source, group, rate=500.0):
        receiver.wait_received(50)
    assert [row["verdict"] for row in mcfwd.show("flows")] == ["forward"]

    links.delete(site.lab.router, "up0")
    mcfwd.wait_for(lambda m: m.interface("up0")["state"] == "missing", SOON, "up0 missing")
    mcfwd.wait_for(lambda m: not m.show("upstream"), SOON, "nothing reported by a link that is not there")
    assert mcfwd.group("down0", group)
    carried = mcfwd.interface("down0")["tx_packets"]

    source = reconnect(site.lab, stack)
    upstream = stack.enter_context(Capture(source, protocol=IGMP))
    links.up(site.lab.router, "up0")
    wait_for(lambda: len(upstream.select(lambda frame: group in reported_groups(frame))) >= 2, SOON, "reports")
    kinds = [each.kind for frame in upstream.select() for each in told(frame) if each.group == group]
    assert set(kinds) <= {"TO_EX", "IS_EX"}
    assert mcfwd.interface("down0")["tx_packets"] == carried
    receiver.reset()
    with Sender(source, group, rate=500.0):
        receiver.wait_received(50)
    assert upstream_row(site, group)["mode"] == "exclude"
    assert [row["verdict"] for row in mcfwd.show("flows") if row["idle"] < 1.0] == ["forward"]


def reconnect(lab: Lab, stack: ExitStack, name: str = "up0", network: str = "10.0.0") -> Namespace:
    """A new namespace behind a new link of the router, whose near end is down for now."""
    far = stack.enter_context(Namespace(f"behind {name}"))
    links.veth(lab.router, name, far, LINK)
    links.add_address(lab.router, name, f"{network}.2/24")
    links.add_address(far, LINK, f"{network}.1/24")
    links.up(far, LINK)
    links.add_default_route(far, f"{network}.2")
    return far


# --- lists: what is denied does not exist ---


def test_05_members_that_are_denied_do_not_hold_a_group_upstream(stack):
    denying = '[[interface]]\nname = "up0"\nrole = "upstream"\n[[interface]]\nname = "down0"\n'
    denying += '[[interface]]\nname = "down1"\ndeny = ["239.1.1.0/24"]\n'
    site = stack.enter_context(running_site(denying + CONFIGURATION))
    hosts, group = neighbours(site, stack), site.new_group()
    hosts[0].report(record("TO_EX", group))
    site.wait_told(group, "TO_EX")
    hosts[1].report(record("TO_EX", group))
    wait_counter(site, "down1", "rx_boundary", 1)
    assert site.mcfwd.group("down1", group) is None
    hosts[0].report(record("TO_IN", group))
    site.wait_told(group, "TO_IN")
    assert site.changes_upstream(group) == [("TO_EX", ()), ("TO_IN", ())]


def test_06_a_group_that_is_denied_upstream_is_not_reported_and_stays_between_the_downstream_links(stack):
    denying = '[[interface]]\nname = "up0"\nrole = "upstream"\ndeny = ["239.1.1.1/32"]\n'
    denying += '[[interface]]\nname = "down0"\n[[interface]]\nname = "down1"\n'
    site = stack.enter_context(running_site(denying + CONFIGURATION))
    hosts, denied, free = neighbours(site, stack), "239.1.1.1", "239.1.1.2"
    hosts[1].report(record("TO_EX", denied), record("TO_EX", free))
    site.wait_told(free, "TO_EX")
    assert site.told_upstream(denied) == []
    assert site.show("upstream", denied) == []

    local = udp_capture(site, stack, 1)
    upstream = stack.enter_context(Capture(site.lab.source, LINK, UDP))
    with Source(site.lab.receivers[0]) as source:
        source.send(denied, b"local")
        source.send(free, b"both")
    local.wait_for(lambda frame: frame.destination == free, SOON)
    local.wait_for(lambda frame: frame.destination == denied, SOON)
    upstream.wait_for(lambda frame: frame.destination == free, SOON)
    with Source(site.lab.source) as source:
        source.send(denied, b"from outside")
    site.mcfwd.wait_for(lambda m: m.interface("up0")["drops"]["boundary"] == 2, SOON, "out and in, counted")
    assert upstream.select(lambda frame: frame.destination == denied and not frame.outgoing) == []
    assert len(local.select(lambda frame: frame.destination == denied)) == 1


def test_08_a_join_is_proxied_only_where_the_link_it_comes_from_allows_the_group(stack):
    allowing = '[[interface]]\nname = "up0"\nrole = "upstream"\n'
    allowing += '[[interface]]\nname = "down0"\nallow = ["239.1.1.0/28", "10.0.0.101,232.1.0.0/16"]\n'
    allowing += '[[interface]]\nname = "down1"\nallow = ["239.1.1.16/28"]\n'
    site = stack.enter_context(running_site(allowing + CONFIGURATION))
    hosts, low, high, channel = neighbours(site, stack), "239.1.1.3", "239.1.1.19", "232.1.1.9"
    for host in hosts:
        host.report(record("TO_EX", low), record("TO_EX", high), record("ALLOW", channel, S1, S2))
    wait_group(site, "down0", low)
    wait_group(site, "down1", high)
    assert [each["address"] for each in wait_group(site, "down0", channel)["sources"]] == [S1]
    rows = {(row["interface"], row["group"]) for row in site.mcfwd.show("groups")}
    assert rows == {("down0", low), ("down1", high), ("down0", channel)}
    for group, kind, *sources in ((low, "TO_EX"), (high, "TO_EX"), (channel, "ALLOW", S1)):
        site.wait_told(group, kind, *sources)
        assert site.changes_upstream(group) == [(kind, tuple(sources))]


KEEPING = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
contribute = ["deny 239.1.1.1", "239.1.0.0/16"]
access = ["deny 239.1.2.1", "allow 239.1.0.0/16"]
[[interface]]
name = "down1"
static_groups = ["239.7.7.6/31", "10.0.0.101-10.0.0.102,232.7.7.7"]
"""


@pytest.fixture(scope="module")
def keeping() -> Iterator[Site]:
    """Two downstream links, of which one keeps a group to itself, and the other has groups without a receiver."""
    with running_site(KEEPING + CONFIGURATION) as site:
        yield site


def test_08_a_link_that_does_not_contribute_a_group_keeps_it_and_gets_what_comes_for_another(keeping, stack):
    site = keeping
    hosts, kept, told_of = neighbours(site, stack), "239.1.1.1", "239.1.1.2"
    hosts[0].report(record("TO_EX", kept), record("TO_EX", told_of))
    site.wait_told(told_of, "TO_EX")
    words = "not asked for upstream for down0: not among its contribute"
    assert [site.mcfwd.group("down0", group)["note"] for group in (kept, told_of)] == [words, None]
    assert site.told_upstream(kept) == []
    assert site.show("upstream", kept) == []

    local = udp_capture(site, stack, 0)
    with Source(site.lab.receivers[1]) as neighbour:
        neighbour.send(kept, b"from a neighbour")
    local.wait_for(lambda frame: frame.destination == kept, SOON, "the local membership")
    hosts[1].report(record("TO_EX", kept))
    site.wait_told(kept, "TO_EX")
    assert upstream_row(site, kept)["interfaces"] == ["down1"]
    with Source(site.lab.source) as source:
        source.send(kept, b"for another")
    local.wait_for(lambda frame: frame.payload[8:] == b"for another", SOON, "what comes anyway")


def test_a_list_in_an_order_holds_for_joins_and_for_data(keeping, stack):
    denied, admitted = "239.1.2.1", "239.1.2.2"
    local, host = udp_capture(keeping, stack, 0), neighbours(keeping, stack)[0]
    host.report(record("TO_EX", denied), record("TO_EX", admitted))
    wait_group(keeping, "down0", admitted)
    [refusal] = keeping.show("refusals", denied)
    assert (refusal["interface"], refusal["reason"], refusal["rule"]) == ("down0", "deny", f"deny {denied}")
    keeping.wait_told(admitted, "TO_EX")
    with Source(keeping.lab.source) as source:
        source.send(denied, b"denied")
        source.send(admitted, b"admitted")
    local.wait_for(lambda frame: frame.destination == admitted, SOON)
    assert local.select(lambda frame: frame.destination == denied) == []


def test_ranges_of_static_groups_are_joined_one_by_one(keeping):
    for group in ("239.7.7.6", "239.7.7.7"):
        assert keeping.mcfwd.group("down1", group)["static"]
        assert upstream_row(keeping, group)["mode"] == "exclude"
    assert upstream_row(keeping, "232.7.7.7")["sources"] == [S1, S2]


@pytest.mark.parametrize("boundary", [True, False])
def test_12_ssdp_is_proxied_unless_its_scope_ends_here(stack, boundary):
    ending = 'boundary = ["239.255.0.0/16"]\n' if boundary else ""
    names = f'[[interface]]\nname = "up0"\nrole = "upstream"\n{ending}[[interface]]\nname = "down0"\n'
    site = stack.enter_context(running_site(names + CONFIGURATION, 1))
    [host], other = neighbours(site, stack), site.new_group()
    host.report(record("TO_EX", SSDP), record("TO_EX", other))
    site.wait_told(other, "TO_EX")
    assert site.changes_upstream(SSDP) == ([] if boundary else [("TO_EX", ())])


# --- several upstreams ---

FAILOVER = 1.0                  # seconds
REMOTE = "203.0.113.9"          # a source on neither upstream's subnet
TWO_UPSTREAMS = f"""
[[interface]]
name = "up0"
role = "upstream"
priority = 1
[[interface]]
name = "up1"
role = "upstream"
priority = 2
[[interface]]
name = "down0"
[dataplane]
failover_time = {FAILOVER}
"""


@pytest.fixture
def two_upstreams(make_lab, stack, tmp_path):
    """A lab with one receiver and a second way to the source, and mcfwd."""
    lab = make_lab(1)
    second = reconnect(lab, stack, "up1", "10.1.0")
    links.up(lab.router, "up1")
    links.wait_up(second, LINK)
    file = tmp_path / "mcfwd.toml"
    file.write_text(TWO_UPSTREAMS + CONFIGURATION)
    return lab, second, stack.enter_context(Mcfwd(lab.router, "-c", str(file)))


class Feed:
    """One stream by two upstream links: what is sent by the one and by the other can be told apart."""

    def __init__(self, namespaces: list[Namespace], group: str, stack: ExitStack) -> None:
        self._injectors = [stack.enter_context(Injector(each)) for each in namespaces]
        self._group, self._sent = group, 0

    def send(self, *ways: int) -> None:
        """One datagram by each way, all with the same number."""
        self._sent += 1
        for way in ways:
            self._injectors[way].send(udp(REMOTE, self._group, b"%d %d" % (self._sent, way)))


def ways(capture: Capture) -> list[tuple[int, int]]:
    """Number and way of every datagram on a link."""
    pairs = (frame.payload[8:].split() for frame in capture.select())
    return [(int(number), int(way)) for number, way in pairs]


def test_11_of_two_upstreams_that_carry_a_flow_one_is_taken_and_the_other_when_that_is_silent(two_upstreams, stack):
    lab, second, mcfwd = two_upstreams
    group = "239.1.1.1"
    captures = [stack.enter_context(Capture(each, protocol=IGMP)) for each in (lab.source, second)]
    host = stack.enter_context(Neighbour(lab.receivers[0], lab.address(0)))
    host.report(record("TO_EX", group))
    for capture, address in zip(captures, (UPSTREAM, "10.1.0.2"), strict=True):
        capture.wait_for(lambda frame, own=address: frame.source == own and group in reported_groups(frame), SOON)

    link = stack.enter_context(Capture(lab.receivers[0], LINK, UDP))
    feed = Feed([lab.source, second], group, stack)

    def carried_by(way: int, *sent_by: int) -> bool:
        feed.send(*sent_by)
        return bool(ways(link)) and ways(link)[-1][1] == way

    # The first is silent: the second is taken. Both: by priority. The first again silent: the second.
    for expected, sent_by in ((1, (1,)), (0, (0, 1)), (1, (1,))):
        wait_for(lambda e=expected, s=sent_by: carried_by(e, *s), SOON, f"flow by upstream {expected}")
    numbers = [number for number, _ in ways(link)]
    assert len(numbers) == len(set(numbers))
    assert sum(mcfwd.interface(name)["drops"]["standby_duplicate"] for name in ("up0", "up1")) > 0
