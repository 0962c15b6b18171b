"""A neighbour who sends what he should not, beside a numbered stream to another port that must not notice.

Where the flood comes in by the stream's own ring, a machine that is busy with other things may be too slow for it; the
kernel then says so (`ring_full`). By all other ways no datagram can be refused so, and none may be missing.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import exit_code
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for
from netns.attacks import ATTACKS, PROGRESSIONS, Front, sprayed, tap, undescribed_frames
from netns.frames import Member, Source
from netns.plant import Plant, added, new_lab, plant_of

WORKER = "mcfwd-worker-0"
RATE = 2000  # datagrams a second of the numbered stream
SECONDS = 5.0  # of each attack
SECOND = 20_000  # frames
MIXED = 5000  # frames a second of a spray beside other things
LATE = 3.0  # seconds that a heartbeat may be old on a busy machine: the beat's own second, and two of others
SOON = 20.0  # seconds in which all must have settled on a busy machine
ATTACKED = '[[interface]]\nname = "down1"\nrole = "downstream"\naltnets = ["100.64.0.0/10"]\n'
PORTS = "".join(
    f'[[interface]]\nname = "{name}"\nrole = "{role}"\n'
    for name, role in (("up0", "upstream"), ("down0", "downstream"), ("down2", "downstream"), ("tap0", "downstream"))
)
FAULTS = ("duplicated", "reordered", "altered")
SETTINGS = "[igmp]\nlast_member_query_interval = 0.2\n" + PORTS


class Besieged:
    """mcfwd on links of MTU 9000 (down2: 1500); down0 gets the numbered stream, down1 is the attacker's."""

    def __init__(self, plant: Plant, file: Path, tap_user: int | None) -> None:
        self.plant, self.lab, self.mcfwd, self._file = plant, plant.lab, plant.mcfwd, file
        self._tap = tap_user

    def front(self, member: str) -> Front:
        """An attacker on down1 who knows the group that down2 wants."""
        host = self.lab.receivers[1]
        return Front(self.lab, host, self.lab.address(1), member, self.plant.group(), self._tap, random.Random(3376))

    def reload(self, ports: str) -> None:
        """These ports are served from now on."""
        self._file.write_text(SETTINGS + ports)
        assert exit_code(self.lab.router, ["reload", "--socket", self.mcfwd.socket])[0] == 0


@pytest.fixture(scope="module")
def besieged(tmp_path_factory) -> Iterator[Besieged]:
    with ExitStack() as stack:
        lab = stack.enter_context(new_lab(3, mtu=9000))
        for namespace, name in ((lab.router, "down2"), (lab.receivers[2], LINK)):
            links.configure(namespace, name, mtu=1500)
        user, directory = tap(stack, lab.router), tmp_path_factory.mktemp("besieged")
        plant = stack.enter_context(plant_of(lab, directory, SETTINGS + ATTACKED))
        yield Besieged(plant, directory / "mcfwd.toml", user)


@contextmanager
def heartbeats(besieged: Besieged) -> Iterator[list[float]]:
    """How old the worker's was, every tenth of a second of the body."""
    ages, stop = list[float](), threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            row = besieged.mcfwd.process_row(WORKER)
            ages.append(row["heartbeat"] if row and row["heartbeat"] is not None else LATE)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield ages
    finally:
        stop.set()
        thread.join()


@contextmanager
def undisturbed(besieged: Besieged) -> Iterator[Front]:
    """The body disturbs neither the numbered stream to down0 nor the worker; down1 is served after it."""
    plant, mcfwd, group = besieged.plant, besieged.mcfwd, besieged.plant.group()
    with ExitStack() as stack:
        wanted = plant.group()
        member = plant.join(stack, 2, wanted)
        receiver = stack.enter_context(Receiver(besieged.lab.receivers[0], group, verify=True))
        mcfwd.wait_member("down0", group, SOON)
        sender = stack.enter_context(Sender(besieged.lab.source, group, rate=RATE))
        receiver.wait_received(RATE // 4, SOON)
        pids, before = mcfwd.pids, plant.drops()
        with heartbeats(besieged) as ages:
            yield besieged.front(wanted)
        assert_carried(besieged, member, wanted)
        receiver.wait_received(receiver.report().total("received") + RATE // 4, SOON)
        sent = sender.stop().count
        report = receiver.settle(0.5, SOON)
    dropped = added(plant.drops(), before)
    missing, faults = sent - report.total("received"), {what: report.total(what) for what in FAULTS}
    assert 0 <= missing <= dropped.get(("up0", "ring_full"), 0), (missing, report.socket_drops, dropped)
    assert not any(faults.values()), faults
    assert mcfwd.pids == pids
    assert "Traceback" not in mcfwd.read_log()
    assert max(ages) < LATE


def assert_carried(besieged: Besieged, member: Member, group: str) -> None:
    """A datagram of the attacker's link reaches a member."""

    def carried() -> bool:
        with Source(besieged.lab.receivers[1]) as source:
            source.send(group, b"after all")
        return b"after all" in member.rest(0.1)

    wait_for(carried, SOON, "a datagram after the attack")


def repeated(attack: Callable[[], object], seconds: float = SECONDS) -> None:
    """The attack again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        attack()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_a_neighbour_sends_disturbs_nobody(besieged, attack):
    port = "tap0" if attack is undescribed_frames else "down1"
    with undisturbed(besieged) as front:
        if port == "tap0" and front.tap is None:
            pytest.skip("no tap device here")
        came = besieged.plant.received(port)
        repeated(lambda: attack(front))
        wait_for(lambda: besieged.plant.received(port) > came, SOON, "frames of the attack")


@pytest.mark.parametrize("upstream", [pytest.param(False, id="downstream", marks=pytest.mark.slow),
                                      pytest.param(True, id="upstream")])  # fmt: skip
def test_sprays_of_chosen_sources_disturb_nobody(besieged, upstream):
    port, plant = "up0" if upstream else "down1", besieged.plant
    with undisturbed(besieged) as front:
        went = plant.sent("down2")
        for step in PROGRESSIONS:
            before = plant.received(port)
            with sprayed(front, besieged.lab.source if upstream else front.host, step) as flood:
                wait_for(lambda flood=flood: flood.sent > SECOND, SOON, "a second of it")
            wait_for(lambda before=before: plant.received(port) - before > SECOND // 2, SOON, "what was sprayed")
        assert plant.sent("down2") - went > SECOND // 2


def test_groups_that_are_left_and_joined_back_to_back_are_forwarded(besieged):
    groups = [besieged.plant.group() for _ in range(2)]
    with undisturbed(besieged) as front, Sender(besieged.lab.source, *groups, rate=400, stream=100):
        repeated(lambda: join_both(besieged, groups, front.random))


def join_both(besieged: Besieged, groups: list[str], chance: random.Random) -> None:
    """Two joins, two leaves, and after a while or none the same again: each join is served."""
    for pause in (0.0, chance.choice((0.0, 0.0, 0.3, 0.6))):
        with ExitStack() as stack:
            members = [stack.enter_context(Member(besieged.lab.receivers[1], group)) for group in groups]
            for member, group in zip(members, groups, strict=True):
                assert member.receive(1, 5.0), f"{group} was joined and is not forwarded"
        time.sleep(pause)


def test_ports_that_go_and_come_while_a_flood_comes_in_by_them(besieged):
    with undisturbed(besieged) as front, sprayed(front, front.host, 1):
        repeated(lambda: go_and_come(besieged))
        besieged.mcfwd.wait_for(lambda mcfwd: mcfwd.interface("down1")["rx_packets"], SOON, "frames by down1")


def go_and_come(besieged: Besieged) -> None:
    """down1 is served no more, and then again."""
    besieged.reload("")
    besieged.reload(ATTACKED)
    besieged.mcfwd.wait_for(lambda mcfwd: mcfwd.interface("down1")["ring"], SOON, "a ring of down1")


@pytest.mark.slow
def test_all_of_it_at_random(besieged):
    with undisturbed(besieged) as front:
        groups = [besieged.plant.group() for _ in range(2)]
        acts: list[Callable[[], None]] = [lambda attack=attack: attack(front) for attack in ATTACKS]
        acts += [lambda: join_both(besieged, groups, front.random), lambda: go_and_come(besieged)]
        with Sender(besieged.lab.source, *groups, rate=400, stream=100):
            repeated(lambda: at_random(besieged, front, acts), 15.0)


def at_random(besieged: Besieged, front: Front, acts: list[Callable[[], None]]) -> None:
    """One of the acts, beside a spray from either side."""
    namespace = front.random.choice((besieged.lab.source, front.host))
    with sprayed(front, namespace, front.random.choice(PROGRESSIONS), MIXED):
        for act in front.random.sample(acts, 2):
            act()
