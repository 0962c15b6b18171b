"""Files of VyOS and RouterOS on packets: what passes is what they mean.

    source  10.0.0.1, 172.31.0.9, 198.51.100.9 -- up0 [router] down0 -- receiver0, threshold 5
                                                               down1 -- receiver1
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import rtoml

from forwarder.config.formats import routeros, vyos
from forwarder.config.formats.translation import Outside
from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.topology import SOURCE
from forwarder.lab.wait import wait_for
from netns.frames import Injector, udp
from netns.plant import Plant, new_lab, plant_of
from netns.scenarios import Neighbour, record
from netns.site import QUERY

LISTED, UNLISTED = "172.31.0.9", "198.51.100.9"
MARK = "239.1.255.1"
BOTH = ["down0", "down1"]
STARTUP = {"startup_query_interval": 0.3, "query_response_interval": 0.3}     # not known to these files
VYOS = """
protocols {
    igmp-proxy {
        interface up0 {
            alt-subnet 172.31.0.0/16
            role upstream
            threshold 60
        }
        interface down0 {
            threshold 5
        }
        interface down1 {
            role downstream
            whitelist 239.1.0.0/16
        }
    }
}
"""
ROUTEROS = """
/routing igmp-proxy
set quick-leave=yes
/routing igmp-proxy interface
add interface=all
add alternative-subnets=172.31.0.0/16 interface=up0 upstream=yes
add interface=down0 threshold=5
/routing igmp-proxy mfc
add group=239.1.9.1 source=10.0.0.1 upstream-interface=up0
add downstream-interfaces=down1 group=239.1.9.2 source=10.0.0.1 upstream-interface=up0
"""

Reaches = Callable[..., list[str]]


@contextmanager
def running(format: ModuleType, text: str, folder: Path) -> Iterator[Plant]:
    """mcfwd as a file says."""
    tables = format.translate(text, Path("file"), Outside()).tables
    with new_lab(2) as lab, plant_of(lab, folder, rtoml.dumps(tables | {"igmp": STARTUP})) as plant:
        yield plant


def looking(plant: Plant, stack: ExitStack) -> Reaches:
    """Which ports a datagram goes out of: `reaches(group, ttl, source)`; both receivers are members of the group."""
    for number in (0, 1):
        plant.join(stack, number, MARK)
    captures = [stack.enter_context(Capture(each, protocol=UDP)) for each in plant.lab.receivers]
    injector, numbers = stack.enter_context(Injector(plant.lab.source)), iter(range(1, 1000))

    def reaches(group: str, ttl: int = 64, source: str = SOURCE) -> list[str]:
        payload, mark = b"number %d" % next(numbers), b"marker %d" % next(numbers)
        injector.send(udp(source, group, payload, ttl=ttl), udp(SOURCE, MARK, mark, ttl=64))
        for capture in captures:
            capture.wait_for(lambda frame: frame.payload[8:] == mark, 10.0, "marker")
        found = [capture.select(lambda frame: frame.payload[8:] == payload) for capture in captures]
        return [port for port, frames in zip(BOTH, found, strict=True) if frames]

    return reaches


def wanted(plant: Plant, stack: ExitStack) -> str:
    """A group that both receivers want."""
    group = plant.group().replace("239.8.", "239.1.")
    for number in (0, 1):
        plant.join(stack, number, group)
    return group


def quick_leave_cuts_nobody_off(plant: Plant, stack: ExitStack, reaches: Reaches) -> None:
    """One host of two leaves, and the other goes on; it leaves, and the group ends: once all were heard, unasked."""
    asked = stack.enter_context(Capture(plant.lab.receivers[1], protocol=IGMP))
    hosts = [stack.enter_context(Neighbour(plant.lab.receivers[1], f"192.168.20.{at}")) for at in (21, 22)]

    def unasked() -> bool:
        group = plant.group().replace("239.8.", "239.1.")
        for host in hosts:
            host.report(record("TO_EX", group))
        plant.mcfwd.wait_for(lambda mcfwd: len(hosts_of(plant, group)) == 2, 10.0, "two hosts")
        hosts[0].report(record("TO_IN", group))
        plant.mcfwd.wait_for(lambda mcfwd: len(hosts_of(plant, group)) == 1, 10.0, "one host less")
        assert reaches(group) == ["down1"]
        hosts[1].report(record("TO_IN", group))
        plant.mcfwd.wait_for(lambda mcfwd: mcfwd.group("down1", group) is None, 10.0, "no group")
        assert reaches(group) == []
        about = bytes(map(int, group.split(".")))
        return not asked.select(lambda frame: frame.payload[0] == QUERY and frame.payload[4:8] == about)

    wait_for(unasked, 20.0, "a leave without a question")


def hosts_of(plant: Plant, group: str) -> list[dict]:
    return [row for row in plant.mcfwd.show("hosts") if row["group"] == group]


@pytest.fixture(scope="module")
def router(tmp_path_factory) -> Iterator[Plant]:
    """mcfwd as the export of RouterOS says."""
    with running(routeros, ROUTEROS, tmp_path_factory.mktemp("routeros")) as plant:
        yield plant


def test_a_vyos_file_decides_as_vyos_does(tmp_path, stack):
    plant = stack.enter_context(running(vyos, VYOS, tmp_path))
    reaches, group = looking(plant, stack), wanted(plant, stack)
    assert reaches(group, ttl=6) == BOTH        # above down0's threshold; up0's 60 judges nothing
    assert reaches(group, ttl=5) == ["down1"]   # not above it
    assert reaches(group, source=LISTED) == BOTH
    assert reaches(group, source=UNLISTED) == []
    plant.join(stack, 0, "239.2.1.1")
    with Neighbour(plant.lab.receivers[1], plant.lab.address(1)) as host:   # not in down1's whitelist
        host.report(record("TO_EX", "239.2.1.1"))
        plant.mcfwd.wait_for(lambda mcfwd: mcfwd.interface("down1")["igmp"]["rx_boundary"], 10.0, "refusal")
    assert reaches("239.2.1.1") == ["down0"]
    quick_leave_cuts_nobody_off(plant, stack, reaches)


def test_a_routeros_export_decides_as_routeros_does(router, stack):
    plant, reaches, group = router, looking(router, stack), wanted(router, stack)
    assert reaches(group, ttl=5) == BOTH
    assert reaches(group, ttl=4) == ["down1"]
    assert reaches(group, source=LISTED) == BOTH
    assert reaches(group, source=UNLISTED) == []
    for number in (0, 1):
        plant.join(stack, number, "239.1.9.1")
    plant.join(stack, 0, "239.1.9.2")
    assert reaches("239.1.9.1") == []                   # blocked, whoever has joined
    assert reaches("239.1.9.2") == ["down1"]            # the rule replaces what was learned of its group
    quick_leave_cuts_nobody_off(plant, stack, reaches)


def test_routeros_status_of_interfaces_is_in_show_interfaces(router):
    rows = {row["name"]: row for row in router.mcfwd.show("interfaces")}
    assert rows.keys() == {"up0", *BOTH}        # all of them, without loopback
    assert (rows["down0"]["querier"], rows["down0"]["address"]) == (True, "192.168.10.1")
    assert all(rows["down0"][key] >= 0 for key in ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets"))


def test_routeros_status_of_the_mfc_is_in_show_flows(router, stack):
    group, reaches = wanted(router, stack), looking(router, stack)
    assert reaches(group) == BOTH
    row = router.flow(group)
    assert (row["source"], row["upstream"], row["downstreams"]) == (SOURCE, "up0", BOTH)
    assert (row["packets"], row["wrong_packets"]) == (1, 0)
    assert row["bytes"] > 28
