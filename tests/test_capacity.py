"""How many ports there can be, where nobody says."""

from dataclasses import replace

import pytest
from test_assignment import link

from forwarder.config import loading
from forwarder.config.files import ConfigurationError
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.capacity import SPARE, UNSEEN, fitted

UP, TAPS = InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap*")


def ports(*interfaces, taps=0):
    there = {name: link(name, 10) for name in ["eth0", *map("tap{}".format, range(taps))]}
    return fitted(Settings(interface=interfaces), there).dataplane.max_ports


def named(count):
    return [InterfaceSettings(name=f"lan{number}") for number in range(count)]


@pytest.mark.parametrize(("downstreams", "found"), [
    (1, 64), (63 - SPARE, 64), (64 - SPARE, 128), (64, 128), (1000, 1024), (4095, 4096),
])  # fmt: skip
def test_named_interfaces_have_room_and_some_to_spare_in_steps_of_a_word(downstreams, found):
    assert ports(UP, *named(downstreams)) == found


@pytest.mark.parametrize(("taps", "found"), [
    (0, 64), (63 - SPARE - UNSEEN, 64), (64 - SPARE - UNSEEN, 128), (300, 640), (3000, 4096),
])  # fmt: skip
def test_what_a_wildcard_matches_may_double(taps, found):
    assert ports(UP, TAPS, taps=taps) == found


def test_what_is_said_holds_and_a_wildcard_that_is_disabled_needs_nothing():
    assert ports(UP, *named(47), replace(TAPS, role="disabled"), taps=300) == 64
    said = Settings(interface=(UP, TAPS))
    said = replace(said, dataplane=replace(said.dataplane, max_ports=8))
    assert fitted(said, {}) is said


def test_as_many_as_there_can_be_may_be_named_on_the_command_line():
    downstreams = [f"lan{number}" for number in range(64)]
    settings = loading.load(None, ["eth0"], downstreams, "/s")
    assert fitted(settings, {}).dataplane.max_ports == 128
    with pytest.raises(ConfigurationError, match="4097 interfaces are named, 4096 can be"):
        loading.load(None, ["eth0"], [f"lan{number}" for number in range(4096)], "/s")
