"""Downstream ports alone: LANs between which is forwarded what somebody on another asked for; and asking them at once.

    receiver0 -- down0 [router] down1 -- receiver1
                                down2 -- receiver2, which asks for nothing
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.wait import wait_for
from netns.frames import Injector, Member, udp
from netns.plant import IGMP_SETTINGS, Plant, carried, new_lab, plant_of

LANS = "".join(f'[[interface]]\nname = "down{number}"\n' for number in range(3))
DENIED = "239.99.0.1"           # on down2, the last of them


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lans")


@pytest.fixture(scope="module")
def plant(folder: Path) -> Iterator[Plant]:
    with new_lab(3) as lab, plant_of(lab, folder, f'{IGMP_SETTINGS}{LANS}deny = ["{DENIED}"]\n') as made:
        yield made


# RFC 4605 3 a
@pytest.mark.parametrize(("source", "member"), [(0, 1), (1, 0)])
def test_a_stream_goes_from_lan_to_lan_while_somebody_wants_it(plant: Plant, source: int, member: int):
    group, address, lan = plant.group(), plant.lab.address(source), f"down{source}"
    with ExitStack() as stack:
        captures = {n: stack.enter_context(Capture(plant.lab.receivers[n], protocol=UDP)) for n in (source, member, 2)}
        upwards = stack.enter_context(Capture(plant.lab.source, protocol=IGMP))
        injector = stack.enter_context(Injector(plant.lab.receivers[source]))
        joined = plant.join(stack, member, group)
        injector.send(udp(address, group, b"wanted"))
        wait_for(lambda: carried(captures[member], group), 10.0, "the datagram")
        assert (plant.flow(group)["verdict"], plant.flow(group)["upstream"]) == ("forward", lan)
        joined.__exit__()
        wait_for(lambda: plant.mcfwd.group(f"down{member}", group) is None, 10.0, "the end of the membership")
        injector.send(udp(address, group, b"not wanted"))
        wait_for(lambda: plant.flow(group)["verdict"] == "no_members", 10.0, "no members")
        assert [frame.payload[8:] for frame in carried(captures[member], group)] == [b"wanted"]
        assert carried(captures[2], group) is None
        assert carried(captures[source], group) is None
        assert upwards.select(lambda frame: True) == []
    assert plant.mcfwd.show("upstream") == []


def test_orders_ask_at_once_and_who_was_forgotten_answers(plant: Plant):
    """The next general query would come after two minutes."""
    group = plant.group()
    with ExitStack() as stack:
        heard = [stack.enter_context(Capture(plant.lab.receivers[number], protocol=IGMP)) for number in (0, 1)]
        plant.join(stack, 1, group)

        def queries(number: int, asked: str) -> int:
            return len(heard[number].select(lambda frame: frame.destination == asked and frame.payload[0] == 0x11))

        assert ordered(plant, "query", "down1") == (0, "down1: asked\n")
        wait_for(lambda: queries(1, "224.0.0.1") == 1, 10.0, "a general query")
        assert queries(0, "224.0.0.1") == 0
        assert ordered(plant, "clear", "down1", group) == (0, "down1: asked; 1 group forgotten\n")
        wait_for(lambda: queries(1, group) == 1, 10.0, "a query for the group")
        plant.mcfwd.wait_member("down1", group, 10.0)
        assert ordered(plant, "query")[1].split("\n") == ["down0: asked", "down1: asked", "down2: asked", ""]
        assert ordered(plant, "query", "nowhere")[0] == 1


def test_a_member_that_was_refused_is_there_as_soon_as_a_reload_admits_it(plant: Plant, folder: Path):
    """Asked by the reload; the next general query would come after two minutes."""
    with Member(plant.lab.receivers[2], DENIED):
        wait_for(lambda: plant.mcfwd.interface("down2")["igmp"]["rx_boundary"] > 0, 10.0, "the refused report")
        assert plant.mcfwd.group("down2", DENIED) is None
        (folder / "mcfwd.toml").write_text(IGMP_SETTINGS + LANS)
        assert plant.mcfwd.request("POST", "/v1/reload")[0] == 201
        plant.mcfwd.wait_member("down2", DENIED, 20.0)


def ordered(plant: Plant, *words: str) -> tuple[int, str]:
    """Exit status and output of a command of mcfwd."""
    done = subprocess.run(
        [sys.executable, "-m", "forwarder", *words, "--socket", plant.mcfwd.socket], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout
