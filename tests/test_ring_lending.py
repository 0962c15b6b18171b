"""What is lent, and what is left for others."""

from test_supervisor_ports import DOWN, UP

from forwarder.state.ports import Port
from forwarder.state.ring_memory import BLOCK, DOWNSTREAM, LEAST, UPSTREAM
from forwarder.state.settings import DataplaneSettings, InterfaceSettings, Settings
from forwarder.supervisor.ring_lending import LET_GO, RingLending, ports_that_may_come

PORTS = [Port(0, 1, "eth0", "upstream", UP, ifindex=2), Port(1, 1, "eth1", "downstream", DOWN, ifindex=3)]


def test_what_is_lent_is_not_there_for_others_and_what_was_closed_not_at_once():
    lending = RingLending(100 * BLOCK, 2)
    assert lending.parts(PORTS, 0, 0.0) == {0: 46, 1: LEAST}
    lending.lend("a", 40)
    assert ("a" in lending, "b" in lending, lending.lent) == (True, False, 40 * BLOCK)
    assert lending.parts(PORTS, 0, 0.0) == {0: 26, 1: LEAST}
    lending.lend("a", 20)
    lending.lend("b", 8)
    lending.drop("b")
    assert lending.parts(PORTS, 0, 0.0) == {0: 36, 1: LEAST}
    lending.take_back("a", 0.0)
    assert lending.lent == 0
    assert lending.parts(PORTS, 0, LET_GO / 2) == {0: 36, 1: LEAST}
    assert lending.parts(PORTS, 0, LET_GO) == {0: 46, 1: LEAST}


def test_a_ring_that_takes_the_place_of_another_is_beside_it_for_a_while():
    lending = RingLending(100 * BLOCK, 1)
    lending.lend("port", 10)
    lending.lend("newcomer", 40)
    lending.swap("newcomer", "port", 10, 0.0)
    assert (lending.lent, "newcomer" in lending) == (40 * BLOCK, False)
    assert lending.parts(PORTS[:1], 0, 0.0) == {0: 50}
    assert lending.parts(PORTS[:1], 0, LET_GO) == {0: 60}


def test_only_wildcards_bring_ports():
    sizes = DataplaneSettings(max_ports=8)
    taps, none = InterfaceSettings(name="tap*"), InterfaceSettings(name="tap*", role="disabled")
    assert ports_that_may_come(Settings(interface=(UP, DOWN), dataplane=sizes), 2) == 1
    assert ports_that_may_come(Settings(interface=(UP, DOWN, none), dataplane=sizes), 2) == 1
    assert ports_that_may_come(Settings(interface=(UP, taps), dataplane=sizes), 3) == 5
    assert ports_that_may_come(Settings(interface=(UP, taps), dataplane=sizes), 8) == 1


def test_by_default_there_is_memory_for_the_rings_of_a_few_ports_besides_those_that_may_come():
    lending = RingLending(DataplaneSettings().ring_memory, 1)
    assert lending.parts(PORTS, 62, 0.0) == {0: UPSTREAM, 1: DOWNSTREAM}
