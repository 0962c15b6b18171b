"""A port downstream without an address, as of veth pairs of containers: it asks, forwards, and takes senders there.

    source -- up0 [router] down0 -- receiver0, where only the receiver has an address
                           down1 -- receiver1
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import SOURCE
from forwarder.lab.wait import wait_for
from netns.frames import Injector, ipv4, udp
from netns.plant import IGMP_SETTINGS, Plant, carried, new_lab, plant_of

QUERY = b"\x11\x64\xee\x9b\0\0\0\0"     # version 2, general


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    with new_lab(2) as lab:
        lab.router.command("ip", "address", "flush", "dev", "down0")
        with plant_of(lab, tmp_path_factory.mktemp("unnumbered"), IGMP_SETTINGS) as made:
            yield made


def test_it_asks_from_nowhere_and_a_kernel_host_gets_its_stream(plant: Plant, stack: ExitStack):
    row = plant.mcfwd.interface("down0")
    assert (row["address"], row["querier"], row["querier_address"]) == (None, True, "0.0.0.0")
    asked = stack.enter_context(Capture(plant.lab.receivers[0], protocol=IGMP))
    stream = stack.enter_context(Capture(plant.lab.receivers[0], protocol=UDP))
    injector = stack.enter_context(Injector(plant.lab.source))
    group = plant.group()
    plant.join(stack, 0, group)
    assert plant.mcfwd.group("down0", group)["last_reporter"] == plant.lab.address(0)
    plant.lab.router.command(sys.executable, "-m", "forwarder", "query", "down0", "--socket", plant.mcfwd.socket)
    asked.wait_for(lambda frame: frame.source == "0.0.0.0", 10.0, "a query")
    injector.send(udp(SOURCE, group, b"here"))
    wait_for(lambda: carried(stream, group), 10.0, "the datagram")
    assert "down0 has no IPv4 address: we ask there from 0.0.0.0" in plant.mcfwd.read_log()


def test_senders_of_any_network_are_taken_there_but_those_of_other_interfaces(plant: Plant, stack: ExitStack):
    group, elsewhere = plant.group(), plant.group()
    stream = stack.enter_context(Capture(plant.lab.receivers[1], protocol=UDP))
    injector = stack.enter_context(Injector(plant.lab.receivers[0]))
    plant.join(stack, 1, group)
    plant.join(stack, 1, elsewhere)
    injector.send(udp("172.29.7.7", group, b"from there"), udp(plant.lab.address(1), elsewhere, b"forged"))
    wait_for(lambda: carried(stream, group), 10.0, "the datagram")
    assert plant.flow(group)["upstream"] == "down0"
    assert plant.flow(elsewhere)["verdict"] == "wrong_interface"
    assert carried(stream, elsewhere) is None


def test_another_querier_wins_and_that_is_said_where_it_hurts(plant: Plant, stack: ExitStack):
    group, other = plant.group(), plant.lab.address(0)
    plant.join(stack, 0, group)
    host = stack.enter_context(Injector(plant.lab.receivers[0]))
    injector = stack.enter_context(Injector(plant.lab.source))
    host.send(ipv4(other, "224.0.0.1", QUERY, protocol=2, ttl=1))
    plant.mcfwd.wait_for(lambda m: m.interface("down0")["querier"] is False, 5.0, "the election")
    injector.send(udp(SOURCE, group, b"in vain"))

    def counted(mcfwd: Mcfwd) -> list[dict[str, Any]]:
        lost = {"down0": {"not_querier": 1}}
        return [row for row in mcfwd.show("flows") if row["group"] == group and row["dropped"] == lost]

    [row] = plant.mcfwd.wait_for(counted, 5.0, "the drop")
    assert (row["verdict"], row["downstreams"]) == ("not_querier", [])
    assert row["hint"].startswith(f"down0: {other} is the querier there, so we do not forward there")
