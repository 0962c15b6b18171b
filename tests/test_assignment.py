"""Which interface is which port."""

from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.assignment import Assignment, Entries
from forwarder.supervisor.links import KernelLink


def link(name, ifindex, **changes):
    values = {"up": True, "mac": "02:00:00:00:00:01", "mtu": 1500, "link_type": 1, "loopback": False, "kind": None,
              "addresses": ((0x0A000001, 24),), "peers": ()}
    return KernelLink(name=name, ifindex=ifindex, **{**values, **changes})


def links(*names):
    return {name: link(name, at + 10) for at, name in enumerate(names)}


def configured(*interfaces):
    return Settings(interface=tuple(InterfaceSettings(name=name, role=role) for name, role in interfaces))


UP_DOWN = configured(("eth0", "upstream"), ("eth1", "downstream"))


class Life:
    """An assignment from moment to moment."""

    def __init__(self, max_ports: int) -> None:
        self.assignment, self.generation = Assignment(max_ports), 0

    def ports(self, settings, there):
        self.generation += 1
        self.assignment, ports = self.assignment.updated(settings, there, self.generation)
        return ports


def test_a_plain_name_has_a_port_before_its_interface_exists():
    ports = Life(8).ports(UP_DOWN, links("eth0"))
    assert [(port.index, port.name, port.state) for port in ports] == [(0, "eth0", "up"), (1, "eth1", "missing")]


def test_a_recreated_link_keeps_its_index_and_gets_its_new_ifindex():
    life = Life(8)
    life.ports(UP_DOWN, links("eth0", "eth1"))
    assert life.ports(UP_DOWN, links("eth0"))[1].ifindex == 0
    again = life.ports(UP_DOWN, {**links("eth0"), "eth1": link("eth1", 99)})[1]
    assert (again.index, again.assigned, again.ifindex) == (1, 1, 99)


def test_a_wildcard_takes_what_it_matches_but_not_what_has_a_name_of_its_own():
    settings = configured(("tap*", "downstream"), ("tap9", "upstream"), ("tap5", "disabled"))
    ports = Life(8).ports(settings, links("tap1", "tap5", "tap9", "eth0"))
    assert {port.name: port.role for port in ports} == {"tap1": "downstream", "tap9": "upstream"}


def test_the_entry_of_a_name_is_the_one_that_has_it_or_the_first_that_matches():
    settings = configured(
        ("tap*", "downstream"), ("tap1", "upstream"), ("t*", "upstream"), ("tap5", "disabled"),
        ("tap1", "downstream"), ("[", "upstream"), ("*9", "disabled"), ("*", "downstream"),
    )  # fmt: skip
    entries = Entries(settings)
    found = {name: entries.of(name) for name in ("tap1", "tap2", "tun", "tap5", "tap9", "x9", "x", "[")}
    places = {name: entry and settings.interface.index(entry) for name, entry in found.items()}
    assert places == {"tap1": 1, "tap2": 0, "tun": 2, "tap5": None, "tap9": 0, "x9": None, "x": 7, "[": 5}
    assert Entries(configured(("tap*", "downstream"))).of("x") is None


def test_a_wildcard_never_takes_the_loopback():
    ports = Life(8).ports(configured(("*", "downstream")), {"lo": link("lo", 1, loopback=True)})
    assert ports == ()


def test_an_index_goes_to_another_name_only_when_there_is_no_free_one():
    settings = configured(("tap*", "downstream"))
    life = Life(2)
    assert [port.index for port in life.ports(settings, links("tap1", "tap2"))] == [0, 1]
    assert [port.name for port in life.ports(settings, links("tap2"))] == ["tap2"]
    ports = {port.name: port for port in life.ports(settings, links("tap2", "tap3"))}
    assert (ports["tap3"].index, ports["tap3"].assigned) == (0, 3)
    assert (ports["tap2"].index, ports["tap2"].assigned) == (1, 1)


def test_names_without_a_free_index_are_left_out():
    ports = Life(2).ports(configured(("tap*", "downstream")), links("tap1", "tap2", "tap3"))
    assert [port.name for port in ports] == ["tap1", "tap2"]


def test_a_name_taken_out_of_the_configuration_gives_its_index_back():
    life = Life(8)
    life.ports(UP_DOWN, links("eth0", "eth1"))
    life.ports(configured(("eth0", "upstream")), links("eth0", "eth1"))
    ports = life.ports(configured(("eth0", "upstream"), ("eth7", "downstream")), links("eth0"))
    assert [(port.index, port.name, port.assigned) for port in ports] == [(0, "eth0", 1), (1, "eth7", 3)]


def test_what_is_not_taken_over_leaves_no_trace():
    settings = configured(("tap*", "downstream"))
    before, ports = Assignment(2).updated(settings, links("tap1", "tap2"), 1)
    refused, others = before.updated(settings, links("tap3"), 2)
    assert refused != before
    assert [port.name for port in others] == ["tap3"]
    assert before.updated(settings, links("tap1", "tap2"), 3) == (before, ports)


def test_an_exact_name_counts_before_wildcards_and_the_first_wildcard_before_others():
    settings = configured(("tap1*", "upstream"), ("tap*", "downstream"), ("tap10", "downstream"), ("tap3", "disabled"))
    there = links("tap10", "tap11", "tap2", "tap3")
    roles = {port.name: port.role for port in Life(8).ports(settings, there)}
    assert roles == {"tap10": "downstream", "tap11": "upstream", "tap2": "downstream"}
