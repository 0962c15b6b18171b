"""Which ports get sockets when, over links and an opener of the test's: hot plug, refusals, roles, what is lent."""

import itertools
import os
from dataclasses import replace

import pytest
import segments
from effort import lines
from hypothesis import given
from hypothesis import strategies as st
from test_assignment import link

from forwarder.packet.packet_socket import PortError
from forwarder.packet.rtnetlink import LinkNotice
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3, RingLayout
from forwarder.state.ports import Added, Configuration
from forwarder.state.ring_memory import BLOCK, DOWNSTREAM, LEAST, UPSTREAM, octets
from forwarder.state.settings import DataplaneSettings, IgmpSettings, InterfaceSettings, RouteSettings, Settings
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import DEAF
from forwarder.supervisor.claims import Claims
from forwarder.supervisor.deafness import APART
from forwarder.supervisor.doubts import Surroundings
from forwarder.supervisor.equipment import OPENING
from forwarder.supervisor.links import Master
from forwarder.supervisor.ports import Ports
from forwarder.supervisor.refusals import LONGEST_RETRY, NO_ROOM, PORT_RETRY, words_of
from forwarder.supervisor.replacements import SHARED
from forwarder.supervisor.ring_lending import LET_GO
from forwarder.supervisor.sockets import NewRing, NewRings, PortSockets, Replacing, WorkerRing, ring_version

SIZES = DataplaneSettings(max_ports=4, max_flows=64, max_routes=64)


class Number:
    """A socket, as far as it is its number."""

    bound, refusing = True, False

    def __init__(self, number: int) -> None:
        self._number, self.priorities = number, []

    def fileno(self) -> int:
        return self._number


class Ring(WorkerRing):
    """A ring whose interface may have gone."""

    def outlived(self) -> bool:
        return not self.socket.bound


class Sockets(PortSockets):
    """Those of a port; the interface of its transmit socket may have gone."""

    def outlived(self) -> bool:
        return not self.transmit.bound

    def prioritise(self, priority: int) -> None:
        if self.igmp.refusing:
            raise PermissionError
        self.igmp.priorities.append(priority)


class Opener:
    """Opens when it is told to (`finish`), or fails as it is told to (`refusals`, by name).

    `most`: the largest ring that the kernel gives; `rings`: sizes in blocks of those that are open, by name.
    """

    def __init__(self) -> None:
        self.asked, self.replacing, self.resizing, self.closed, self.refusals = [], [], [], [], {}
        self.bell, self.workers, self.most, self.profile = -1, 1, UPSTREAM, "balanced"
        self.rings: dict[object, int] = {}
        self.opened: dict[str, Sockets] = {}
        self.kept: list[WorkerRing] = []      # or what tells their sockets apart would be used again
        self.descriptor: int | None = None  # that of all sockets, where they need a real one

    def __call__(self, sizes, bell, super_frames) -> "Opener":
        self.bell, self.workers = bell, sizes.workers
        return self

    @property
    def busy(self) -> bool:
        return bool(self.asked)

    @property
    def under_way(self) -> bool:
        return bool(self.asked or self.replacing or self.resizing)

    @property
    def names(self) -> list[str]:
        """Of the ports that are being opened."""
        return [port.name for port, _ in self.asked]

    def open(self, port, promiscuous, blocks) -> None:
        assert port.key not in [each.key for each, _ in self.asked]
        self.asked.append((port, blocks))

    def version(self, role) -> int:
        return ring_version(role, self.profile, True)

    def replace_rings(self, port, promiscuous, blocks, former) -> None:
        self.resizing.append((port, blocks))

    def resized(self, failed) -> list[NewRings]:
        asked, self.resizing = self.resizing, []
        for port, _ in asked:
            if port.name in self.refusals:
                failed(port.key, self.refusals[port.name])
        return [NewRings(port.key, port.role, tuple(self._ring(port, each, blocks) for each in range(self.workers)))
                for port, blocks in asked if port.name not in self.refusals]

    def replace_ring(self, port, promiscuous, worker, blocks, least, former) -> None:
        self.replacing.append((port, worker, blocks, least))

    def finish(self) -> None:
        os.eventfd_write(self.bell, 1)

    def done(self, failed) -> list[PortSockets]:
        asked, self.asked = self.asked, []
        for port, _ in asked:
            if port.name in self.refusals:
                failed(port.key, self.refusals[port.name])
        return [self._opened(port, blocks) for port, blocks in asked if port.name not in self.refusals]

    def replaced(self, failed) -> list[NewRing]:
        asked, self.replacing = self.replacing, []
        made = []
        for port, worker, blocks, least in asked:
            place, given = Replacing(port.key, port.role, worker), min(blocks, self.most)
            if given < least:
                failed(place, OUT_OF_MEMORY)
                continue
            refused = None if given == blocks else OUT_OF_MEMORY
            made.append(NewRing(place, self._ring(port, worker, given), refused))
        return made

    def _opened(self, port, blocks) -> PortSockets:
        given = min(blocks, self.most)
        rings = tuple(self._ring(port, worker, given) for worker in range(self.workers))
        transmit, igmp = (Number(self.descriptor or number + port.index) for number in (200, 300))
        refused = None if given == blocks else OUT_OF_MEMORY
        made = self.opened[port.name] = Sockets(port.key, port.role, rings, transmit, igmp, refused)
        return made

    def _ring(self, port, worker, blocks) -> WorkerRing:
        layout = RingLayout(block_nr=blocks, version=self.version(port.role))
        ring = Ring(Number(self.descriptor or 100 + port.index), layout)
        self.rings[id(ring.socket)] = blocks
        self.kept.append(ring)
        return ring

    def close_ring(self, ring) -> None:
        del self.rings[id(ring.socket)]

    def close(self, sockets) -> None:
        self.closed.append(sockets.key[0])
        for ring in sockets.rings:
            self.close_ring(ring)

    def shutdown(self) -> None:
        self.asked.clear()


OUT_OF_MEMORY = PortError("receive ring", "PACKET_RX_RING", "eth0", 12)


class Watch:
    def __init__(self, *links) -> None:
        self.links = {each.name: each for each in links}

    def snapshot(self):
        return dict(self.links)


OFFICES = itertools.count()     # each the only one that claims its interfaces


class Office:
    def __init__(self, *interfaces: InterfaceSettings, **sizes: int) -> None:
        self.now, self.opener = 100.0, Opener()
        self.default: str | None = None     # interface of the default route
        self.watch = Watch(link("eth0", 10), link("eth1", 11))
        self.sizes = replace(SIZES, **sizes)
        self.shared = segments.shared(self.sizes)
        self.settings = Settings(interface=interfaces or (UP, DOWN), dataplane=self.sizes)
        self.claims = f"\0office {os.getpid()} {next(OFFICES)} {{}}"
        around = (lambda: self.now), (lambda: Surroundings(self.default)), Claims(self.claims)
        self.ports = Ports(self.settings, self.shared, self.watch, self.opener, *around)
        self.ports.refresh()

    def standings(self) -> dict[str, object]:
        """By name."""
        names = {port.index: port.name for port in self.ports.ports}
        return {names[each.index]: each for each in self.ports.standings({})}

    def degraded(self) -> dict[str, str]:
        return {name: each.degraded for name, each in self.standings().items() if each.degraded}

    def blocks(self) -> dict[str, int]:
        """Of all rings of each port, by name."""
        return {name: each.rings // BLOCK for name, each in self.standings().items()}

    def plug(self, *names: str) -> None:
        """Interfaces come."""
        for name in names:
            self.watch.links[name] = link(name, 100 + len(self.watch.links))
        self.ports.refresh()

    def unplug(self, *names: str) -> None:
        for name in names:
            del self.watch.links[name]
        self.ports.refresh()

    def close(self) -> None:
        os.close(self.ports.fileno())
        segments.close(self.shared)

    def later(self, seconds: float) -> None:
        """Tries again after so long, and takes what was opened."""
        self.now += seconds
        self.ports.retry(self.now)
        self.opened()
        self.ports.replaced()
        self.ports.resized()

    def opened(self) -> list[int]:
        self.opener.finish()
        return self.ports.opened()

    def published(self) -> Configuration:
        return Configuration.from_json(SnapshotReader(self.shared.configuration).poll())


UP, DOWN = InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="eth1", role="downstream")


def test_ports_that_exist_are_opened_and_lent_with_whose_they_are():
    office = Office()
    assert office.opener.names == ["eth0", "eth1"]
    assert office.ports.loan(0, 1) is None
    assert office.opened() == [0, 1]
    assert office.ports.open == [0, 1]
    message, descriptors = office.ports.loan(0, 1)
    assert (message["port"], message["ifindex"], message["generation"]) == (1, 11, 1)
    assert descriptors == {"ring": 101, "transmit": 201}
    assert office.ports.loan(None, 0).descriptors == {"igmp": 300}
    assert [port.name for port in office.published().ports] == ["eth0", "eth1"]


def test_a_link_that_goes_takes_its_sockets_along_and_has_others_when_it_comes_back():
    office = Office()
    office.opened()
    del office.watch.links["eth1"]
    office.ports.refresh()
    assert (office.opener.closed, office.ports.open) == ([1], [0])
    office.watch.links["eth1"] = link("eth1", 99)
    office.ports.refresh()
    assert office.opened() == [1]
    assert office.ports.loan(0, 1).message["ifindex"] == 99


def test_sockets_that_come_too_late_are_closed():
    office = Office()
    del office.watch.links["eth1"]
    office.ports.refresh()
    assert office.opened() == [0]
    assert office.opener.closed == [1]


def test_a_link_that_came_back_under_its_name_and_index_has_other_sockets(caplog):
    """Moved to another namespace and back between two looks: nothing is different but that its sockets are dead."""
    caplog.set_level("INFO")
    office = Office()
    office.opened()
    office.ports.refresh()
    assert office.opener.closed == []
    office.opener.opened["eth1"].transmit.bound = False
    office.ports.refresh()
    assert (office.opener.closed, office.ports.open) == ([1], [0])
    assert caplog.messages[-1] == "eth1 went away and came back; opening sockets again"
    assert office.opened() == [1]
    assert office.opener.opened["eth1"].transmit.bound
    office.ports.refresh()
    assert office.opener.closed == [1]


def test_sockets_whose_link_went_before_they_came_are_closed_and_others_opened():
    office = Office()
    late = office.opener.done(None)
    late[1].transmit.bound = False
    office.opener.done = lambda failed: late
    assert office.opened() == [0]
    assert office.opener.closed == [1]
    assert [port.name for port, _ in office.opener.asked] == ["eth1"]


def test_what_concerns_the_ports_follows_links_and_settings():
    office = Office()

    def concerned(*links: LinkNotice) -> list[bool]:
        return [office.watch.concerns(each) for each in links]

    tap, down = LinkNotice(12, (b"tap0",)), LinkNotice(11, ())
    assert concerned(tap, down) == [False, True]
    taps = replace(office.settings, interface=(UP, InterfaceSettings(name="tap*")))
    office.ports.configure(taps, Added())
    assert concerned(tap, down) == [True, False]
    assert concerned(LinkNotice(12, ())) == [False]
    office.watch.links["tap0"] = link("tap0", 12)
    office.ports.refresh()
    assert concerned(LinkNotice(12, ()), down) == [True, False]


def test_another_role_has_other_sockets():
    office = Office()
    office.opened()
    swapped = replace(office.settings, interface=(replace(UP, role="downstream"), replace(DOWN, role="upstream")))
    office.ports.configure(swapped, Added())
    assert office.opener.closed == [0, 1]
    assert office.ports.open == []
    assert office.opened() == [0, 1]
    office.ports.configure(swapped, Added(groups=(("eth0", "239.1.1.1"),)))
    assert office.opener.closed == [0, 1]


REFUSALS = [
    (PortError("receive ring", "PACKET_RX_RING", "eth1", 12),
     "receive ring: PACKET_RX_RING: ENOMEM, Cannot allocate memory; what helps: free memory, or lower ring_memory in "
     "[dataplane]"),
    (PortError("receive ring", "SO_ATTACH_FILTER", "eth1", 12),
     "receive ring: SO_ATTACH_FILTER: ENOMEM, Cannot allocate memory; what helps: raise net.core.optmem_max"),
    (PortError("IGMP socket", "socket", "eth1", 24),
     "IGMP socket: socket: EMFILE, Too many open files; what helps: raise the limit of open files (ulimit -n, "
     "LimitNOFILE= in a unit)"),
    (PortError("transmit socket", "socket", "eth1", 1),
     "transmit socket: socket: EPERM, Operation not permitted; what helps: grant CAP_NET_RAW"),
    (PortError("transmit socket", "bind", "eth1", 19), "transmit socket: bind: ENODEV, No such device"),
    (MemoryError(), "could not be opened: MemoryError()"),
    (RuntimeError("odd"), "could not be opened: RuntimeError('odd')"),
]  # fmt: skip


@pytest.mark.parametrize(("refusal", "words"), REFUSALS)
def test_a_port_that_cannot_be_opened_is_degraded_and_says_why_once_and_when_it_is_over(refusal, words, caplog):
    caplog.set_level("INFO")
    office = Office()
    assert office.degraded() == {"eth0": OPENING, "eth1": OPENING}
    office.opener.refusals["eth1"] = refusal
    assert office.opened() == [0]
    for _ in range(4):
        assert office.degraded() == {"eth1": words}
        assert office.ports.summary() == "1 of 2 interfaces served, degraded: eth1"
        office.later(LONGEST_RETRY)
    assert [record.message for record in caplog.records] == [f"eth1 is degraded: {words}"]
    del office.opener.refusals["eth1"]
    office.later(LONGEST_RETRY)
    assert (office.ports.open, office.degraded()) == ([0, 1], {})
    assert office.ports.summary() == "2 of 2 interfaces served"
    assert [record.message for record in caplog.records[1:]] == ["eth1: its sockets are open, it is no longer degraded"]


def test_another_reason_is_said_again(caplog):
    office = Office()
    for refusal, words in REFUSALS:
        office.opener.refusals["eth1"] = refusal
        office.later(LONGEST_RETRY)
        assert caplog.records[-1].message == f"eth1 is degraded: {words}"
    assert len(caplog.records) == len(REFUSALS)


def test_what_is_refused_is_tried_again_soon_and_then_later_and_later():
    office = Office()
    office.opener.refusals["eth1"] = OUT_OF_MEMORY
    office.opened()
    for pause in (1, 2, 4, 8, 16, 30, 30):
        office.now += pause * PORT_RETRY - 0.01
        office.ports.retry(office.now)
        assert office.opener.names == []
        office.now += 0.02
        office.ports.retry(office.now)
        assert office.opener.names == ["eth1"]
        office.opened()


def test_a_port_that_a_bridge_takes_is_said_and_shown_while_that_is_so(caplog):
    caplog.set_level("INFO")
    office = Office()
    office.opened()
    changed = office.ports.changed
    words = "eth1 is a port of the bridge br0, which takes what comes in: name br0 instead"
    office.watch.links["eth1"] = replace(office.watch.links["eth1"], master=Master("br0", "bridge"))
    for _ in range(2):
        office.ports.refresh()
    assert caplog.messages.count(words) == 1
    assert office.degraded() == {"eth1": words}
    assert office.ports.changed > changed
    assert office.ports.summary() == "1 of 2 interfaces served, degraded: eth1"
    assert "eth1 (downstream, up, degraded)" in map(office.ports.describe, office.ports.ports)
    assert office.ports.open == [0, 1]      # what is sent there leaves
    assert "a port of the bridge br0" in (office.standings()["eth1"].enslaved or "")
    office.watch.links["eth1"] = replace(office.watch.links["eth1"], master=None)
    office.ports.refresh()
    assert office.degraded() == {}
    assert caplog.messages[-1] == "eth1 is no longer a port of another interface"


def test_what_is_doubtful_is_said_at_the_start_and_after_a_reload_and_what_comes_meanwhile_once(caplog):
    taps = replace(TAPS, name="tap*")
    office = Office(UP, DOWN, taps, max_ports=3)
    direction = "eth1 has the default route and is downstream: remote sources usually come from there"
    assert caplog.messages == []
    office.default = "eth1"
    office.plug("tap0", "tap1")
    room = "tap1 of tap* finds no port: raise max_ports in [dataplane], which is fixed at start"
    assert caplog.messages == [room]
    office.plug("tap2")
    office.unplug("tap2")
    office.ports.configure(office.settings, Added())    # a change at run time
    assert caplog.messages == [room]
    caplog.clear()
    office.ports.configure(office.settings, Added(), reloaded=True)
    assert caplog.messages == [room, direction]
    office.unplug("tap1")
    office.plug("tap1")
    assert caplog.messages == [room, direction, room]


def test_ports_that_are_not_lent_yet_are_degraded_and_missing_ones_are_not():
    office = Office(UP, DOWN, InterfaceSettings(name="eth2"))
    office.opened()
    waiting = {"mcfwd-worker-0": {1}, "mcfwd-agent": {0, 1}}
    said = {each.index: each.degraded for each in office.ports.standings(waiting)}
    assert said == {0: "not lent yet to mcfwd-agent", 1: "not lent yet to mcfwd-worker-0, mcfwd-agent", 2: None}


# --- memory of rings ---


def test_by_default_rings_are_as_large_as_they_should_be():
    office = Office()
    office.opened()
    assert office.blocks() == {"eth0": UPSTREAM, "eth1": DOWNSTREAM}
    assert [each.short for each in office.standings().values()] == [None, None]
    assert office.ports.ring_memory == (UPSTREAM + DOWNSTREAM) * BLOCK


@pytest.mark.parametrize("order", [("eth2", "eth3"), ("eth3", "eth2")])
def test_named_interfaces_have_their_part_in_whatever_order_they_come(order):
    office = Office(UP, DOWN, InterfaceSettings(name="eth2"), InterfaceSettings(name="eth3"), ring_memory=8 << 20)
    for name in order:
        office.opened()
        office.plug(name)
    office.opened()
    assert office.blocks() == {"eth0": 64 - 4 * LEAST, "eth1": LEAST, "eth2": LEAST, "eth3": LEAST}
    assert {each.short for each in office.standings().values()} == {SHARED}


TAPS = InterfaceSettings(name="tap*")


def test_later_interfaces_of_a_wildcard_get_what_is_left_and_then_none_and_are_degraded(caplog):
    office = Office(UP, TAPS, ring_memory=5 << 20, max_ports=40)
    office.opened()
    office.plug(*(f"tap{number:02}" for number in range(3)))
    office.opened()
    assert office.degraded() == {}
    office.plug(*(f"tap{number:02}" for number in range(3, 10)))
    office.opened()
    without = [name for name, blocks in office.blocks().items() if not blocks]
    assert without
    assert office.degraded() == dict.fromkeys(without, NO_ROOM)
    assert office.ports.ring_memory <= 5 << 20
    said = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"{name} is degraded: {NO_ROOM}" for name in without]
    served = [name for name, blocks in office.blocks().items() if blocks and name != "eth0"]
    office.unplug(served[0])
    office.later(LET_GO - 0.1)      # a worker may not have let go of it yet
    assert office.degraded() == dict.fromkeys(without, NO_ROOM)
    office.later(0.2)
    assert office.degraded() == dict.fromkeys(without[1:], NO_ROOM)


def test_what_the_kernel_refuses_is_smaller_says_so_once_and_becomes_whole(caplog):
    caplog.set_level("INFO")
    office = Office()
    office.opener.most = 64
    office.opened()
    assert (office.blocks(), office.degraded()) == ({"eth0": 64, "eth1": DOWNSTREAM}, {})
    assert office.standings()["eth0"].short == words_of(OUT_OF_MEMORY)
    [record] = caplog.records
    assert record.message == f"eth0: rings of 8 MiB only: {words_of(OUT_OF_MEMORY)}"
    for _ in range(3):
        office.later(LONGEST_RETRY)
    assert office.blocks()["eth0"] == 64
    office.opener.most = 256
    office.later(LONGEST_RETRY)
    assert office.blocks()["eth0"] == 256
    assert office.standings()["eth0"].short == words_of(OUT_OF_MEMORY)
    office.opener.most = UPSTREAM
    office.later(LONGEST_RETRY)
    office.later(LONGEST_RETRY)
    assert (office.blocks()["eth0"], office.standings()["eth0"].short) == (UPSTREAM, None)
    assert caplog.records[-1].message == "eth0: the ring of worker 0 has 64 MiB of blocks now, after 32 MiB of blocks"
    assert sum(office.opener.rings.values()) == UPSTREAM + DOWNSTREAM


def test_rings_grow_when_other_ports_have_given_theirs_back():
    office = Office(UP, DOWN, InterfaceSettings(name="eth2"), InterfaceSettings(name="eth3"), ring_memory=72 << 20)
    office.plug("eth2", "eth3")
    office.opened()
    small = office.blocks()["eth1"]
    assert (office.blocks()["eth0"], small < DOWNSTREAM) == (UPSTREAM, True)
    office.ports.configure(replace(office.settings, interface=(UP, DOWN)), Added())
    office.later(LET_GO)
    assert office.blocks() == {"eth0": UPSTREAM, "eth1": DOWNSTREAM}
    assert office.ports.loan(0, 1).message["block_nr"] == DOWNSTREAM


def test_a_port_whose_role_changes_has_a_smaller_ring_where_the_former_is_still_mapped_and_then_a_whole_one():
    office = Office(ring_memory=72 << 20)
    office.opened()
    assert office.blocks() == {"eth0": UPSTREAM, "eth1": DOWNSTREAM}
    swapped = replace(UP, role="downstream"), replace(DOWN, role="upstream")
    office.ports.configure(replace(office.settings, interface=swapped), Added())
    assert office.opened() == [0, 1]
    assert office.blocks()["eth1"] < UPSTREAM
    office.later(LET_GO)
    assert office.blocks() == {"eth0": DOWNSTREAM, "eth1": UPSTREAM}
    assert [each.short for each in office.standings().values()] == [None, None]


def test_a_ring_that_comes_for_a_port_that_is_gone_is_closed():
    office = Office()
    office.opener.most = 8
    office.opened()
    office.opener.most = UPSTREAM
    office.now += LONGEST_RETRY
    office.ports.retry(office.now)
    office.unplug("eth0")
    assert office.ports.replaced() == [(1, 0)]
    assert sum(office.opener.rings.values()) == DOWNSTREAM
    office.plug("eth0")
    office.later(LET_GO)
    assert office.blocks() == {"eth0": UPSTREAM, "eth1": DOWNSTREAM}


def test_a_ring_that_was_opened_before_its_link_went_and_came_back_takes_no_place():
    office = Office()
    office.opener.most = 8
    office.opened()
    office.opener.most = UPSTREAM
    office.now += LONGEST_RETRY
    office.ports.retry(office.now)
    made = office.opener.replaced(failed=None)
    for each in made:
        each.ring.socket.bound = False
    office.opener.replaced = lambda failed: made
    assert office.ports.replaced() == []
    assert office.blocks() == {"eth0": 8, "eth1": 8}
    assert sum(office.opener.rings.values()) == 16
    del office.opener.replaced
    office.later(LONGEST_RETRY)
    assert office.blocks() == {"eth0": UPSTREAM, "eth1": DOWNSTREAM}


def test_a_link_that_becomes_one_of_another_type_has_other_sockets_which_are_lent_as_such():
    office = Office()
    office.opened()
    office.watch.links["eth1"] = replace(office.watch.links["eth1"], link_type=65534)
    office.ports.refresh()
    assert (office.opener.closed, office.opener.names) == ([1], ["eth1"])
    assert office.ports.loan(0, 1) is None
    office.opened()
    assert office.ports.loan(0, 1).key == office.ports.ports[1].key


def deaf(office: Office, index: int, descriptor: int) -> None:
    """The worker says that the kernel fills a ring no more."""
    rows = WorkerSegment(office.shared.workers[0], writable=True).ports
    rows[index, DEAF] = os.fstat(descriptor).st_ino


def test_a_deaf_ring_is_replaced_by_one_of_its_size(caplog):
    office = Office()
    with open(os.devnull) as file:
        office.opener.descriptor = file.fileno()
        office.opened()
        deaf(office, 1, file.fileno())
        office.ports.replace_deaf(office.now)
        assert [(port.name, worker, blocks) for port, worker, blocks, _ in office.opener.replacing] == [
            ("eth1", 0, DOWNSTREAM),
        ]  # fmt: skip
        office.ports.replace_deaf(office.now + APART)   # once at a time
        assert office.ports.replaced() == [(1, 0)]
    assert "replacing the ring" in caplog.text


def test_a_deaf_ring_for_whose_successor_there_is_no_memory_says_so_once(caplog):
    office = Office(ring_memory=1 << 20)
    with open(os.devnull) as file:
        office.opener.descriptor = file.fileno()
        office.opened()
        deaf(office, 1, file.fileno())
        for turn in range(3):
            office.ports.replace_deaf(office.now + turn * APART)
    assert office.opener.replacing == []
    assert office.standings()["eth1"].short == NO_ROOM
    said = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"eth1: the ring of worker 0 cannot be replaced: {NO_ROOM}"]


NAMES = [f"tap{number}" for number in range(6)]
EVENTS = st.lists(st.tuples(st.sampled_from(["plug", "unplug", "finish", "later", "swap", "most", "workers",
                                             "profile"]),
                            st.sampled_from(NAMES), st.integers(1, UPSTREAM)), max_size=40)  # fmt: skip


@given(EVENTS, st.integers(1, 3), st.integers(8, 700), st.integers(3, 8))
def test_whatever_happens_rings_are_within_the_bound(events, workers, blocks, max_ports):
    office = Office(UP, DOWN, TAPS, ring_memory=blocks * BLOCK, workers=workers, max_ports=max_ports)
    roles = False
    for event, name, number in events:
        if event == "plug" and name not in office.watch.links:
            office.plug(name)
        elif event == "unplug" and name in office.watch.links:
            office.unplug(name)
        elif event == "finish":
            office.opened()
            office.ports.replaced()
            office.ports.resized()
        elif event == "later":
            office.later(number / 16)
        elif event == "swap":
            roles = not roles
            taps = replace(TAPS, role="upstream" if roles else "downstream")
            office.ports.configure(replace(office.settings, interface=(UP, DOWN, taps)), Added())
        elif event == "most":
            office.opener.most = max(number, LEAST)
        elif event == "workers" and not office.opener.asked and not office.ports.resizing:
            workers = number % 3 + 1
            office.ports.resize(workers)
        elif event == "profile":
            sizes = replace(office.sizes, profile="latency" if number % 2 else "balanced")
            office.ports.configure(replace(office.ports.settings, dataplane=sizes), Added())
        under_way = sum(each[1] for each in office.opener.asked + office.opener.resizing) * workers
        under_way += sum(each[2] for each in office.opener.replacing)
        assert sum(office.opener.rings.values()) + under_way <= blocks
        assert sum(office.blocks().values()) == sum(office.opener.rings.values())
    office.close()


def test_a_configuration_that_is_too_much_changes_nothing():
    office = Office()
    office.opened()
    names = tuple(f"interface-{at:04}" for at in range(1000))
    routes = tuple(RouteSettings(group=f"239.2.{at >> 8}.{at & 255}", interfaces=names) for at in range(300))
    before = office.published(), office.ports.ports, office.ports.settings, office.ports.added
    with pytest.raises(ValueError, match="does not fit"):
        office.ports.configure(replace(office.settings, interface=(UP,)), Added(routes=routes))
    assert (office.published(), office.ports.ports, office.ports.settings, office.ports.added) == before
    assert office.opener.closed == []
    office.ports.configure(replace(office.settings, interface=(UP,)), Added())
    assert office.opener.closed == [1]


def test_links_that_are_too_much_are_not_taken_for_followed():
    office = Office()
    office.opened()
    before = office.ports.ports
    office.watch.links["eth1"] = link("eth1", 11, addresses=tuple((1 << 31 | at, 24) for at in range(400_000)))
    for _ in range(2):
        with pytest.raises(ValueError, match="does not fit"):
            office.ports.refresh()
    assert office.ports.ports == before
    office.watch.links["eth1"] = link("eth1", 11, addresses=((1 << 31, 24),))
    office.ports.refresh()
    assert office.published().ports[1].addresses == ((1 << 31, 24),)


def test_a_look_that_finds_what_was_there_works_out_nothing():
    office = Office(max_ports=64, ring_memory=1 << 30)
    looked = lines(office.ports.refresh)
    office.plug(*(f"dummy{number}" for number in range(50)))
    assert lines(office.ports.refresh) == looked


def test_a_port_costs_the_same_whatever_the_number_of_others():
    """Lines that are run for it when the limits of all change."""
    def cost(count: int) -> int:
        names = [f"eth{number}" for number in range(count)]
        entries = [InterfaceSettings(name=name, role="upstream" if name == "eth0" else "downstream") for name in names]
        office = Office(*entries, max_ports=count, ring_memory=1 << 30)
        office.plug(*names)
        office.opened()
        settings = replace(office.settings, interface=tuple(replace(entry, max_groups=7) for entry in entries))
        taken = lines(lambda: (office.ports.configure(settings, Added()), office.ports.standings({})))
        office.close()
        return taken

    few, many = cost(20), cost(80)
    assert many < 4.2 * few


def test_a_ring_that_is_one_block_larger_takes_the_place_of_a_smaller_one():
    office = Office()
    office.opener.most = UPSTREAM - 1
    office.opened()
    assert office.blocks()["eth0"] == UPSTREAM - 1
    changed = office.ports.changed
    office.opener.most = UPSTREAM
    office.later(LONGEST_RETRY)
    assert office.blocks()["eth0"] == UPSTREAM
    assert office.ports.changed > changed


def test_a_port_is_short_where_one_of_its_rings_is():
    office = Office(workers=2, ring_memory=1 << 30)
    office.opened()
    assert office.standings()["eth0"].short is None
    sockets = office.ports._equipment.sockets[0]
    smaller = sockets.rings[1]._replace(layout=RingLayout(block_nr=UPSTREAM - 1))
    office.ports._equipment.sockets[0] = sockets.with_ring(1, smaller)
    assert office.standings()["eth0"].short == SHARED


def test_igmp_is_sent_with_the_priority_of_its_port_and_a_reload_changes_it():
    office = Office(UP, replace(DOWN, igmp_priority=3))
    try:
        office.opened()
        sockets = [office.opener.opened[name].igmp for name in ("eth0", "eth1")]
        assert [each.priorities for each in sockets] == [[7], [3]]
        again = replace(office.settings, igmp=IgmpSettings(igmp_priority=5))
        for _ in range(2):      # what is as it was is not set again
            office.ports.configure(again, Added())
        assert [each.priorities for each in sockets] == [[7, 5], [3]]
        sockets[0].refusing = True
        office.ports.configure(replace(again, igmp=IgmpSettings(igmp_priority=6)), Added())
        sockets[0].refusing = False
        office.plug("eth7")
        office.ports.configure(replace(again, igmp=IgmpSettings(igmp_priority=6)), Added())
        assert sockets[0].priorities == [7, 5, 6]
    finally:
        office.close()


def kinds(office: Office) -> dict[str, int]:
    """What kind of ring each port has, by name."""
    sockets = office.ports._equipment.sockets
    return {port.name: sockets[port.index].rings[0].layout.version for port in office.ports.ports}


def test_another_profile_has_rings_of_other_kinds_which_take_the_place_of_the_former(caplog):
    caplog.set_level("INFO")
    office = Office()
    office.opened()
    assert kinds(office) == {"eth0": TPACKET_V3, "eth1": TPACKET_V2}
    latency = replace(office.settings, dataplane=replace(office.sizes, profile="latency"))
    office.ports.configure(latency, Added(), reloaded=True)
    office.later(1.0)
    assert kinds(office) == {"eth0": TPACKET_V2, "eth1": TPACKET_V2}
    assert [each for each in caplog.messages if "of slots now" in each and "of blocks" in each]
    office.later(1.0)
    assert not office.opener.replacing
    office.ports.configure(office.settings, Added(), reloaded=True)
    office.later(5.0)
    assert kinds(office) == {"eth0": TPACKET_V3, "eth1": TPACKET_V2}


def test_a_ring_that_was_begun_under_another_profile_is_replaced_when_it_comes():
    office = Office()
    office.ports.retry(office.now)
    latency = replace(office.settings, dataplane=replace(office.sizes, profile="latency"))
    office.ports.configure(latency, Added(), reloaded=True)
    office.ports.retry(office.now)      # nothing is odd of what there is, since nothing is there yet
    office.opener.profile = "balanced"  # by which they were begun
    office.opener.finish()
    office.ports.opened()
    office.opener.profile = "latency"
    for _ in range(2):
        office.later(1.0)
    assert kinds(office) == {"eth0": TPACKET_V2, "eth1": TPACKET_V2}


def test_a_single_ring_that_comes_for_a_worker_that_is_there_no_more_takes_no_place(caplog):
    office = Office(workers=2)
    office.opened()
    equipment, late = office.ports._equipment, office.opener
    assert equipment.replacements.replace(0, 1, office.now)
    begun, late.replacing = late.replacing, []
    office.ports.resize(1)
    for index in list(equipment.sockets):
        equipment._close(equipment.sockets.pop(index))      # as where there is no room for both
    for _ in range(3):
        office.later(2.0)
    late.replacing = begun
    office.later(1.0)
    assert rings(office) == {"eth0": 1, "eth1": 1}
    assert not office.ports.resizing
    office.ports.resize(2)
    for _ in range(4):
        office.later(2.0)
    assert rings(office) == {"eth0": 2, "eth1": 2}


def test_no_deaf_ring_is_replaced_while_all_are():
    office = Office()
    office.opened()
    equipment = office.ports._equipment
    office.ports.resize(2)
    office.ports.replace_deaf(office.now + APART)
    assert not office.opener.replacing
    assert office.ports.resizing
    office.later(1.0)
    assert [len(each.rings) for each in equipment.sockets.values()] == [2, 2]


def rings(office: Office) -> dict[str, int]:
    """How many rings each port has, by name."""
    sockets = office.ports._equipment.sockets
    return {port.name: len(sockets[port.index].rings) for port in office.ports.ports if port.index in sockets}


def test_rings_for_other_workers_take_the_place_of_all_of_a_port():
    office = Office()
    office.opened()
    assert not office.ports.resizing
    office.ports.resize(2)
    assert office.ports.resizing
    assert office.ports.loan(1, 0) is None
    office.ports.retry(office.now)
    office.opener.finish()
    assert sorted(office.ports.resized()) == [0, 1]
    assert rings(office) == {"eth0": 2, "eth1": 2}
    assert not office.ports.resizing
    assert office.ports.loan(1, 0) is not None
    assert len(office.opener.rings) == 4        # the former ones are closed
    office.ports.resize(1)
    office.later(2.0)
    assert rings(office) == {"eth0": 1, "eth1": 1}
    assert office.ports.loan(1, 0) is None


def test_where_there_is_no_room_for_both_rings_are_closed_before_others_are_opened():
    office = Office(ring_memory=octets(UPSTREAM + DOWNSTREAM))
    office.opened()
    office.ports.resize(2)
    for _ in range(8):
        office.later(2.0)
        assert sum(office.blocks().values()) <= UPSTREAM + DOWNSTREAM
    assert rings(office) == {"eth0": 2, "eth1": 2}


def test_where_there_is_no_room_for_all_at_once_no_port_is_closed_whose_turn_can_come(caplog):
    names = [f"eth{number}" for number in range(4)]
    office = Office(*(InterfaceSettings(name=name, role="upstream") for name in names),
                    ring_memory=octets(4 * UPSTREAM + 2 * LEAST))
    office.plug(*names)
    office.opened()
    office.opener.closed.clear()
    office.ports.resize(2)
    for _ in range(200):
        office.later(0.1)
    assert rings(office) == dict.fromkeys(names, 2)
    assert not office.opener.closed
    office.ports.resize(4)      # there is room for none at first, since all have what they could get
    for _ in range(200):
        office.later(0.1)
    assert rings(office) == dict.fromkeys(names, 4)
    assert len(office.opener.closed) <= 1
    assert not office.degraded()


def test_rings_that_cannot_be_opened_beside_the_former_are_opened_in_the_ordinary_way():
    office = Office()
    office.opened()
    office.opener.refusals["eth0"] = OUT_OF_MEMORY
    office.ports.resize(2)
    office.later(1.0)
    office.opener.refusals.clear()
    for _ in range(4):
        office.later(2.0)
    assert rings(office) == {"eth0": 2, "eth1": 2}


def test_a_port_that_was_being_opened_when_workers_became_others_has_rings_for_all():
    office = Office()
    office.ports.resize(2)
    office.opener.workers, late = 1, office.opener.workers
    office.opened()
    office.opener.workers = late
    assert office.ports.resizing
    office.later(2.0)
    assert rings(office) == {"eth0": 2, "eth1": 2}


def test_an_interface_that_another_instance_serves_too_is_said_to_be_so():
    office = Office(UP, TAPS)
    other = Claims(office.claims)
    office.plug("tap0")
    other.hold({office.watch.links["tap0"].ifindex})
    changed = office.ports.changed
    office.ports.look_around(office.now + 120.0)
    assert {name: each.twin for name, each in office.standings().items()} == {"eth0": False, "tap0": True}
    assert office.ports.changed > changed
    other.close()
