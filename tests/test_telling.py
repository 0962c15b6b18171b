"""Doubts in the log."""

from test_assignment import link
from test_doubts import BRIDGE, TAPS, UP, configuration

from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.supervisor.doubts import Surroundings
from forwarder.supervisor.telling import MOST, Telling


def test_thousands_of_doubts_are_a_hundred_lines_and_a_count(caplog):
    there = {name: link(name, 10, master=BRIDGE) for name in map("tap{:03}".format, range(MOST + 20))}
    settings = Settings(interface=(UP, TAPS), dataplane=DataplaneSettings(max_ports=256))
    Telling(Surroundings).tell_news(configuration(settings, there), there)
    assert len(caplog.messages) == MOST + 1
    assert caplog.messages[-1] == "and 20 warnings more: `mcfwd check` has them all"


def test_what_is_over_and_comes_back_is_told_again(caplog):
    settings, telling = Settings(interface=(UP, TAPS)), Telling(Surroundings)
    for master in (BRIDGE, BRIDGE, None, BRIDGE):
        there = {"tap0": link("tap0", 10, master=master)}
        telling.tell_news(configuration(settings, there), there)
    assert len(caplog.messages) == 2
