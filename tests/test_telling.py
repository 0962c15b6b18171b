"""Doubts in the log."""

from test_assignment import link
from test_doubts import BRIDGE, LAN, TAPS, UP, configuration

from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.supervisor.doubts import Surroundings
from forwarder.supervisor.telling import LOOK, MOST, Telling


def test_thousands_of_doubts_are_a_hundred_lines_and_a_count(caplog):
    there = {name: link(name, 10, master=BRIDGE) for name in map("tap{:03}".format, range(MOST + 20))}
    settings = Settings(interface=(UP, TAPS), dataplane=DataplaneSettings(max_ports=256))
    Telling(Surroundings).tell_news(configuration(settings, there), there)
    assert len(caplog.messages) == MOST + 1
    assert caplog.messages[-1] == "and 20 more warnings: `mcfwd check` has them all"


def test_what_is_over_and_comes_back_is_told_again(caplog):
    settings, telling = Settings(interface=(UP, TAPS)), Telling(Surroundings)
    for master in (BRIDGE, BRIDGE, None, BRIDGE):
        there = {"tap0": link("tap0", 10, master=master)}
        telling.tell_news(configuration(settings, there), there)
    assert len(caplog.messages) == 2


def test_another_forwarder_that_comes_is_told_once_until_it_is_gone(caplog):
    routed, there = {"eth0"}, {"eth0": link("eth0", 2), "lan0": link("lan0", 3)}
    telling = Telling(lambda: Surroundings(kernel_routed=frozenset(routed)))
    made = configuration(Settings(interface=(UP, LAN)), there)
    telling.tell_all(made, there)
    assert len(caplog.messages) == 1
    for look, (names, lines) in enumerate([({"eth0"}, 1), (set(), 1), ({"lan0"}, 2), ({"lan0"}, 2)], 1):
        routed.clear()
        routed.update(names)
        telling.tell_others(made.ports, LOOK * look)
        telling.tell_others(made.ports, LOOK * look + 1)
        assert len(caplog.messages) == lines
