"""Which ports get sockets when, over links and an opener of the test's: hot plug, refusals, roles, what is lent."""

import os
from dataclasses import replace

import pytest
from test_assignment import link

from forwarder.packet.packet_socket import PortError
from forwarder.packet.rtnetlink import Notice
from forwarder.packet.tpacket import RingLayout
from forwarder.state.ports import Added, Configuration
from forwarder.state.settings import DataplaneSettings, InterfaceSettings, RouteSettings, Settings
from forwarder.state.snapshot import SnapshotReader
from forwarder.supervisor.ports import PORT_RETRY, Ports
from forwarder.supervisor.shared import Shared
from forwarder.supervisor.sockets import key_of

SIZES = DataplaneSettings(max_ports=4, max_flows=64, max_routes=64)


class Sockets:
    """What was opened for a port; its descriptors are numbers."""

    layout = RingLayout(block_nr=4)

    def __init__(self, port) -> None:
        self.port, self.key = port, key_of(port)
        self.rings = [Number(100 + port.index)]
        self.transmit, self.igmp = Number(200 + port.index), Number(300 + port.index)
        self.bound = True

    def outlived(self) -> bool:
        return not self.bound

    def fit(self, port) -> bool:
        return (self.key, self.port.role) == (key_of(port), port.role)


class Number:
    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class Opener:
    """Opens when it is told to (`finish`), or fails as it is told to (`refusals`, by name)."""

    def __init__(self) -> None:
        self.asked, self.closed, self.refusals, self.opened = [], [], {}, {}
        self.bell = -1

    def __call__(self, sizes, bell, super_frames) -> "Opener":
        self.bell = bell
        return self

    @property
    def busy(self) -> bool:
        return bool(self.asked)

    def open(self, port, promiscuous) -> None:
        if port.index not in [each.index for each in self.asked]:
            self.asked.append(port)

    def finish(self) -> None:
        os.eventfd_write(self.bell, 1)

    def done(self, failed) -> list[Sockets]:
        asked, self.asked = self.asked, []
        for port in asked:
            if port.name in self.refusals:
                failed(key_of(port), self.refusals[port.name])
        opened = [Sockets(port) for port in asked if port.name not in self.refusals]
        self.opened |= {sockets.port.name: sockets for sockets in opened}
        return opened

    def replaced(self) -> list:
        return []

    def close(self, sockets) -> None:
        self.closed.append(sockets.port.name)

    def shutdown(self) -> None:
        self.asked.clear()


class Watch:
    def __init__(self, *links) -> None:
        self.links = {each.name: each for each in links}

    def snapshot(self):
        return dict(self.links)


class Office:
    def __init__(self, *interfaces: InterfaceSettings) -> None:
        self.now, self.opener = 100.0, Opener()
        self.watch = Watch(link("eth0", 10), link("eth1", 11))
        self.shared = Shared(SIZES)
        self.settings = Settings(interface=interfaces or (UP, DOWN), dataplane=SIZES)
        self.ports = Ports(self.settings, self.shared, self.watch, self.opener, lambda: self.now)
        self.ports.refresh()

    def opened(self) -> list[int]:
        self.opener.finish()
        return self.ports.opened()

    def published(self) -> Configuration:
        return Configuration.from_json(SnapshotReader(self.shared.configuration).poll())


UP, DOWN = InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="eth1", role="downstream")


def test_ports_that_exist_are_opened_and_lent_with_whose_they_are():
    office = Office()
    assert [port.name for port in office.opener.asked] == ["eth0", "eth1"]
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
    assert (office.opener.closed, office.ports.open) == (["eth1"], [0])
    office.watch.links["eth1"] = link("eth1", 99)
    office.ports.refresh()
    assert office.opened() == [1]
    assert office.ports.loan(0, 1).message["ifindex"] == 99


def test_sockets_that_come_too_late_are_closed():
    office = Office()
    del office.watch.links["eth1"]
    office.ports.refresh()
    assert office.opened() == [0]
    assert office.opener.closed == ["eth1"]


def test_a_link_that_came_back_under_its_name_and_index_has_other_sockets():
    """Moved to another namespace and back between two looks: nothing is different but that its sockets are dead."""
    office = Office()
    office.opened()
    office.ports.refresh()
    assert office.opener.closed == []
    office.opener.opened["eth1"].bound = False
    office.ports.refresh()
    assert (office.opener.closed, office.ports.open) == (["eth1"], [0])
    assert office.opened() == [1]
    assert office.opener.opened["eth1"].bound
    office.ports.refresh()
    assert office.opener.closed == ["eth1"]


def test_sockets_whose_link_went_before_they_came_are_closed_and_others_opened():
    office = Office()
    late = office.opener.done(None)
    late[1].bound = False
    office.opener.done = lambda failed: late
    assert office.opened() == [0]
    assert office.opener.closed == ["eth1"]
    assert [port.name for port in office.opener.asked] == ["eth1"]


def test_what_concerns_the_ports_follows_links_and_settings():
    office = Office()

    def concerned(*links: Notice) -> list[bool]:
        return [office.watch.concerns(each) for each in links]

    tap, down = Notice(12, (b"tap0",)), Notice(11, ())
    assert concerned(tap, down) == [False, True]
    taps = replace(office.settings, interface=(UP, InterfaceSettings(name="tap*")))
    office.ports.configure(taps, Added())
    assert concerned(tap, down) == [True, False]
    assert concerned(Notice(12, ())) == [False]
    office.watch.links["tap0"] = link("tap0", 12)
    office.ports.refresh()
    assert concerned(Notice(12, ()), down) == [True, False]


def test_another_role_has_other_sockets():
    office = Office()
    office.opened()
    swapped = replace(office.settings, interface=(replace(UP, role="downstream"), replace(DOWN, role="upstream")))
    office.ports.configure(swapped, Added())
    assert office.opener.closed == ["eth0", "eth1"]
    assert office.ports.open == []
    assert office.opened() == [0, 1]
    office.ports.configure(swapped, Added(groups=(("eth0", "239.1.1.1"),)))
    assert office.opener.closed == ["eth0", "eth1"]


@pytest.mark.parametrize("refusal", [PortError("ring", "eth1", 12), OSError(24, "Too many open files"), MemoryError(),
                                     RuntimeError("odd")])  # fmt: skip
def test_what_cannot_be_opened_is_tried_again_and_said_once(refusal, caplog):
    office = Office()
    office.opener.refusals["eth1"] = refusal
    assert office.opened() == [0]
    for _ in range(4):
        office.ports.retry(office.now)
        assert office.opener.asked == []        # not before its time
        office.now += PORT_RETRY
        office.ports.retry(office.now)
        assert [port.name for port in office.opener.asked] == ["eth1"]
        assert office.opened() == []
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    del office.opener.refusals["eth1"]
    office.now += PORT_RETRY
    office.ports.retry(office.now)
    assert office.opened() == [1]


def test_a_configuration_that_is_too_much_changes_nothing():
    office = Office()
    office.opened()
    names = tuple(f"interface-{at:04}" for at in range(1000))
    routes = tuple(RouteSettings(group=f"239.2.{at >> 8}.{at & 255}", downstreams=names) for at in range(300))
    before = office.published(), office.ports.ports, office.ports.settings, office.ports.added
    with pytest.raises(ValueError, match="does not fit"):
        office.ports.configure(replace(office.settings, interface=(UP,)), Added(routes=routes))
    assert (office.published(), office.ports.ports, office.ports.settings, office.ports.added) == before
    assert office.opener.closed == []
    office.ports.configure(replace(office.settings, interface=(UP,)), Added())
    assert office.opener.closed == ["eth1"]
