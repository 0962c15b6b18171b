"""Static routes and static groups: who gets what without having asked, changed at run time, beside what is learned.

Nothing received is told from lost by a marker: `reaches` sends the group in question and then one that is routed to
every port, and what had to come has come before that.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from netns.frames import Injector, udp
from netns.plant import IGMP_SETTINGS, Plant, new_lab, plant_of
from netns.site import told

OTHER = "10.0.0.7"
MARKER = "239.255.255.1"
EVERYWHERE = ["down0", "down1", "down2"]
AGENT, WORKER, API = "mcfwd-agent", "mcfwd-worker-0", "mcfwd-api"

INTERFACES = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
static_groups = ["239.40.0.1", "10.0.0.7,232.40.0.1"]
[[interface]]
name = "down1"
[[interface]]
name = "down2"
[[interface]]
name = "late*"
"""
ROUTES = """
[[route]]
group = "239.255.255.1"
interfaces = ["down0", "down1", "down2"]
[[route]]
group = "239.20.0.0/16"
source = "10.0.0.1"
interfaces = ["down1"]
[[route]]
group = "239.20.30.0/24"
source = "10.0.0.0/24"
upstream = "up0"
interfaces = ["down*"]
[[route]]
group = "239.21.0.0/16"
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """Three receivers, and routes in the configuration file."""
    with new_lab(3) as lab:
        links.add_address(lab.source, LINK, f"{OTHER}/24")
        with plant_of(lab, tmp_path_factory.mktemp("static"), IGMP_SETTINGS + INTERFACES + ROUTES) as made:
            yield made


@pytest.fixture
def group(plant: Plant) -> str:
    """A group that nobody has used yet."""
    return plant.group()


@pytest.fixture
def reaches(plant: Plant, stack: ExitStack) -> Callable[..., list[str]]:
    """Which ports a datagram goes out of: `reaches(group, source)`."""
    captures = {
        port: stack.enter_context(Capture(namespace, protocol=UDP))
        for port, namespace in zip(plant.lab.downstreams, plant.lab.receivers, strict=True)
    }
    injector = stack.enter_context(Injector(plant.lab.source))
    numbers = iter(range(1, 1000))

    def send(group: str, source: str = SOURCE) -> list[str]:
        payload, mark = b"number %d" % next(numbers), b"marker %d" % next(numbers)
        injector.send(udp(source, group, payload), udp(SOURCE, MARKER, mark))
        for capture in captures.values():
            capture.wait_for(lambda frame: frame.payload[8:] == mark, 10.0, "marker")
        found = {port: capture.select(lambda frame: frame.payload[8:] == payload) for port, capture in captures.items()}
        assert all(len(frames) <= 1 for frames in found.values())
        return [port for port, frames in found.items() if frames]

    return send


def command(plant: Plant, *words: str) -> tuple[int, str]:
    """`mcfwd WORDS` as a user types it."""
    return exit_code(plant.lab.router, [*words, "--socket", plant.mcfwd.socket])


def done(plant: Plant, *words: str) -> None:
    assert command(plant, *words) == (0, "")


@contextmanager
def route(plant: Plant, *words: str) -> Iterator[None]:
    """A route that is there in the body only."""
    done(plant, "route", "add", *words)
    yield
    done(plant, "route", "del", *words)


def shown(plant: Plant, group: str) -> list[dict[str, Any]]:
    return [row for row in plant.mcfwd.show("routes") if row["group"] == group]


def static(plant: Plant) -> list[dict[str, Any]]:
    return [row for row in plant.mcfwd.show("routes") if row["kind"] != "learned"]


def rows_of(group: str, *interfaces: str, kind: str = "static", **said: str) -> dict[str, Any]:
    row = {"group": group, "source": None, "upstream": None, "interfaces": list(interfaces), "kind": kind}
    return row | {"note": None} | said


# --- routes of the configuration file ---


def test_a_network_of_groups_goes_where_it_is_sent_without_any_member(reaches):
    assert reaches("239.20.3.4") == ["down1"]
    assert reaches("239.20.3.4", OTHER) == []


def test_the_longer_network_counts_and_a_wildcard_is_every_port_downstream(reaches):
    assert reaches("239.20.30.40") == EVERYWHERE
    assert reaches("239.20.30.40", OTHER) == EVERYWHERE


def test_a_route_to_nobody_blocks_what_has_members(plant, reaches, stack):
    plant.join(stack, 0, "239.21.3.4")
    assert reaches("239.21.3.4") == []
    row = plant.flow("239.21.3.4")
    assert (row["verdict"], row["hint"]) == (
        "no_members", "blocked by the static route 239.21.0.0/16, which has no interfaces"
    )


def test_routes_are_shown_as_they_were_written(plant):
    assert static(plant)[:4] == [
        rows_of(MARKER, *EVERYWHERE),
        rows_of("239.20.0.0/16", "down1", source=SOURCE),
        rows_of("239.20.30.0/24", *EVERYWHERE, source="10.0.0.0/24", upstream="up0"),
        rows_of("239.21.0.0/16", kind="block"),
    ]


# --- changed at run time ---


def test_a_route_comes_and_goes(plant, reaches, group):
    assert reaches(group) == []
    with route(plant, group, "--interfaces", "down0", "--interfaces", "down2"):
        assert shown(plant, group) == [rows_of(group, "down0", "down2")]
        assert reaches(group) == ["down0", "down2"]
    assert shown(plant, group) == []
    assert reaches(group) == []


def test_a_route_is_changed_in_place_while_those_that_stay_lose_nothing(plant, stack, group):
    links_of = [stack.enter_context(Capture(each, protocol=UDP)) for each in plant.lab.receivers]
    done(plant, "route", "add", group, "--to", "down0")
    receiver = stack.enter_context(Receiver(plant.lab.receivers[0], group))
    stack.enter_context(Sender(plant.lab.source, group, rate=2000))
    receiver.wait_received(200)
    for _ in range(5):
        done(plant, "route", "add", group, "--to", "down1", "--to", "down0")
        assert shown(plant, group)[0] == rows_of(group, "down0", "down1")    # then what is learned
        done(plant, "route", "replace", group, "--to", "down0", "--to", "down2")
        assert shown(plant, group)[0] == rows_of(group, "down0", "down2")
        done(plant, "route", "replace", group, "--to", "down0")
    for link in links_of[1:]:
        link.wait_for(lambda frame: frame.destination == group, 5.0, "the ways out that were added")
    report = receiver.wait_received(receiver.report().total("received") + 500)
    assert (report.total("lost"), report.total("duplicated")) == (0, 0)
    done(plant, "route", "del", group)


def test_what_was_learned_waits_behind_what_is_static(plant, reaches, group, stack):
    plant.join(stack, 0, group)
    assert reaches(group) == ["down0"]
    with route(plant, group, "--to", "down1"):
        assert reaches(group) == ["down1"]
        plant.join(stack, 2, group)
        assert reaches(group) == ["down1"]
        assert [row["kind"] for row in shown(plant, group)] == ["static", "learned"]
    assert reaches(group) == ["down0", "down2"]


def test_a_route_for_one_source_leaves_the_others_alone(plant, reaches, group, stack):
    plant.join(stack, 0, group)
    with route(plant, group, "--source", OTHER, "--to", "down1"):
        assert reaches(group, OTHER) == ["down1"]
        assert reaches(group) == ["down0"]


def test_a_blocked_group_is_no_longer_blocked_when_the_route_is_gone(plant, reaches, group, stack):
    plant.join(stack, 1, group)
    with route(plant, group):
        assert reaches(group) == []
    assert reaches(group) == ["down1"]


def test_a_route_by_another_interface_keeps_the_group_from_coming_by_this_one(plant, reaches, group, stack):
    plant.join(stack, 0, group)
    with route(plant, group, "--upstream", "down2", "--interfaces", "down1"):
        assert reaches(group) == []
        assert plant.flow(group)["verdict"] == "wrong_interface"
        with Injector(plant.lab.receivers[2]) as injector, Capture(plant.lab.receivers[1], protocol=UDP) as link:
            injector.send(udp(plant.lab.address(2), group, b"from down2"))
            link.wait_for(lambda frame: frame.payload[8:] == b"from down2", 5.0)
    assert reaches(group) == ["down0"]


def test_a_route_waits_for_its_interface(plant, reaches, group, stack):
    late = stack.enter_context(Namespace("late"))
    with route(plant, group, "--to", "late0", "--to", "down0"):
        assert shown(plant, group) == [rows_of(group, "late0", "down0")]
        assert reaches(group) == ["down0"]
        links.veth(plant.lab.router, "late0", late, LINK)
        for namespace, name in ((plant.lab.router, "late0"), (late, LINK)):
            links.up(namespace, name)
        plant.mcfwd.wait_for(lambda mcfwd: state(mcfwd, "late0") == "up", 10.0, "late0 up")
        with Capture(late, protocol=UDP) as link:
            assert "late0" in [row["interfaces"][0] for row in shown(plant, group)]
            plant.mcfwd.wait_for(lambda _: reaches(group) and link.select(), 10.0, "datagram by late0")
        links.delete(plant.lab.router, "late0")
        plant.mcfwd.wait_for(lambda mcfwd: state(mcfwd, "late0") == "missing", 10.0, "late0 gone")
        assert reaches(group) == ["down0"]


def state(mcfwd: Mcfwd, name: str) -> str:
    """What is shown of an interface that may have no row yet, or none any more."""
    return next((row["state"] for row in mcfwd.show("interfaces") if row["name"] == name), "missing")


@pytest.mark.parametrize("name", [AGENT, WORKER, API])
def test_what_was_added_outlives_every_process(plant, reaches, group, stack, name):
    plant.join(stack, 0, group)
    with route(plant, group, "--to", "down1"):
        done(plant, "group", "add", "down2", learned := plant.group())
        assert (reaches(group), reaches(learned)) == (["down1"], ["down2"])
        plant.mcfwd.wait_replaced(name, plant.mcfwd.kill(name, signal.SIGKILL))
        assert (reaches(group), reaches(learned)) == (["down1"], ["down2"])
        row = plant.mcfwd.wait_member("down2", learned)
        assert row["static"] is True
        done(plant, "group", "del", "down2", learned)
        plant.mcfwd.wait_for(lambda mcfwd: mcfwd.group("down2", learned) is None, 5.0, "static group gone")
    plant.mcfwd.wait_for(lambda _: reaches(group) == ["down0"], 5.0, "what is learned")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("route del 239.20.0.0/16 --source 10.0.0.1", "is in the configuration file; change it there"),
        ("route add 239.21.0.0/16 --to down0", "is in the configuration file already"),
        ("route del 239.77.0.1", "there is no static route 239.77.0.1"),
        ("route add 10.0.0.0/8 --to down0", '"10.0.0.0/8" is not a range of groups'),
        ("route add 239.77.0.1 --to nowhere", 'no [[interface]] covers "nowhere"'),
        ("route add 224.0.0.9 --to down0", "is link-local"),
        ("group del down0 239.40.0.1", "is in the configuration file; change it there"),
        ("group del down1 239.40.0.1", "there is no static group 239.40.0.1 on down1"),
        ("group add down1 232.1.1.1", "is in ssm_range"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(plant, words, said):
    before = static(plant)
    code, output = command(plant, *words.split())
    assert code == 1
    assert said in output
    assert "Traceback" not in output
    assert static(plant) == before


def test_adding_twice_and_deleting_twice_are_errors(plant, group):
    for noun, what in (("route", (group, "--to", "down0")), ("group", ("down1", group))):
        done(plant, noun, "add", *what)
        assert command(plant, noun, "add", *what)[0] == 1
        done(plant, noun, "del", *what)
        assert command(plant, noun, "del", *what)[0] == 1


# --- static groups ---


def test_a_static_group_flows_and_is_joined_upstream_without_a_receiver(plant, reaches):
    assert reaches("239.40.0.1") == ["down0"]
    row = plant.mcfwd.group("down0", "239.40.0.1")
    assert row is not None
    assert (row["static"], row["mode"], row["expires"], row["last_reporter"]) == (True, "exclude", None, None)
    [upstream] = [row for row in plant.mcfwd.show("upstream") if row["group"] == "239.40.0.1"]
    assert (upstream["mode"], upstream["sources"]) == ("exclude", [])


def test_a_static_channel_is_for_its_source_only(plant, reaches):
    assert reaches("232.40.0.1", OTHER) == ["down0"]
    assert reaches("232.40.0.1") == []


def test_a_static_group_comes_and_goes_and_upstream_is_told(plant, reaches, group, stack):
    upstream = stack.enter_context(Capture(plant.lab.source, protocol=IGMP))
    done(plant, "group", "add", "down1", group)
    upstream.wait_for(lambda frame: says(frame, group, "TO_EX"), 5.0, "join upstream")
    assert reaches(group) == ["down1"]
    member = plant.join(stack, 1, group)
    done(plant, "group", "del", "down1", group)
    row = plant.mcfwd.group("down1", group)
    assert row is not None
    assert row["static"] is False
    assert reaches(group) == ["down1"]
    assert upstream.select(lambda frame: says(frame, group, "TO_IN")) == []
    member.__exit__()
    upstream.wait_for(lambda frame: says(frame, group, "TO_IN"), 10.0, "leave upstream")
    assert reaches(group) == []


def says(frame: Any, group: str, kind: str) -> bool:
    return frame.source == UPSTREAM and any((each.group, each.kind) == (group, kind) for each in told(frame))


def test_a_group_is_joined_upstream_for_nobody(plant, reaches, group, stack):
    upstream = stack.enter_context(Capture(plant.lab.source, protocol=IGMP))
    done(plant, "group", "add", "up0", group)
    upstream.wait_for(lambda frame: says(frame, group, "TO_EX"), 5.0, "join upstream")
    assert reaches(group) == []
    row = plant.mcfwd.wait_member("up0", group)
    assert row["static"] is True
    done(plant, "group", "del", "up0", group)
    upstream.wait_for(lambda frame: says(frame, group, "TO_IN"), 5.0, "leave upstream")


# --- reload ---


def test_routes_come_and_go_by_reload_while_others_lose_nothing(tmp_path, stack, make_lab):
    lab: Lab = make_lab(3)
    steady, changing = "239.1.1.1", "239.1.1.2"
    table = '[[route]]\ngroup = "{}"\ninterfaces = ["{}"]\n'.format
    with plant_of(lab, tmp_path, INTERFACES + table(steady, "down0")) as plant:
        done(plant, "route", "add", changing, "--to", "down2")
        receiver = stack.enter_context(Receiver(lab.receivers[0], steady))
        links_of = [stack.enter_context(Capture(each, protocol=UDP)) for each in lab.receivers]
        stack.enter_context(Sender(lab.source, steady, rate=2000))
        stack.enter_context(Sender(lab.source, changing, rate=100, stream=1))
        receiver.wait_received(1000)
        links_of[2].wait_for(lambda frame: frame.destination == changing, 5.0)
        write(tmp_path, INTERFACES + table(steady, "down0") + table(changing, "down1"))
        done(plant, "reload")
        links_of[1].wait_for(lambda frame: frame.destination == changing, 5.0, "the route of the new file")
        assert shown(plant, changing) == [rows_of(changing, "down1")]
        write(tmp_path, INTERFACES + table(steady, "down0"))
        os.kill(plant.mcfwd.process.pid, signal.SIGHUP)
        plant.mcfwd.wait_for(lambda _: shown(plant, changing) == [], 5.0, "route gone")
        report = receiver.wait_received(receiver.report().total("received") + 2000)
        assert (report.total("lost"), report.total("duplicated")) == (0, 0)

        write(tmp_path, INTERFACES + table(steady, "nowhere"))
        code, output = command(plant, "reload")
        assert code == 78
        assert 'route[0].interfaces[0]: no [[interface]] covers "nowhere"' in output
        assert static(plant) == [rows_of(steady, "down0")]


def write(folder: Path, text: str) -> None:
    (folder / "mcfwd.toml").write_text(text)


def test_groups_are_counted_as_they_are_listed_and_reports_say_whence_they_come(make_lab, stack, tmp_path):
    lab, file = make_lab(2), tmp_path / "mcfwd.toml"
    file.write_text(
        '[[interface]]\nname = "up0"\nrole = "upstream"\nstatic_groups = ["239.1.1.3"]\n'
        '[[interface]]\nname = "down0"\nstatic_groups = ["239.1.1.1", "239.1.1.2"]\n[[interface]]\nname = "down1"\n'
    )
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
    stack.enter_context(Receiver(lab.receivers[1], "239.1.1.2"))
    mcfwd.wait_member("down1", "239.1.1.2")

    def counts(noun: str) -> dict[str, int]:
        found = [row["interface"] for row in mcfwd.show(noun)]
        return {name: found.count(name) for name in ("up0", "down0", "down1")}

    def counted(_: Mcfwd) -> bool:
        shown = {row["name"]: row["groups"] for row in mcfwd.show("interfaces")}
        return shown == {"up0": 3, "down0": 2, "down1": 1}

    mcfwd.wait_for(counted, 10.0, "groups counted")
    assert counts("groups") == {"up0": 1, "down0": 2, "down1": 1}
    assert counts("upstream")["up0"] == 3
    assert {row["group"]: (row["interfaces"], row["static"]) for row in mcfwd.show("upstream")} == {
        "239.1.1.1": (["down0"], False), "239.1.1.2": (["down0", "down1"], False), "239.1.1.3": ([], True),
    }  # fmt: skip


def test_what_is_static_and_has_no_effect_says_so(make_lab, stack, tmp_path):
    lab, file = make_lab(1), tmp_path / "mcfwd.toml"
    file.write_text(
        '[[interface]]\nname = "up0"\nrole = "upstream"\n[[interface]]\nname = "late0"\n'
        '[[interface]]\nname = "down0"\nstatic_groups = ["239.1.1.1"]\ndeny = ["239.1.1.1"]\n'
        '[[route]]\ngroup = "239.1.1.2"\ninterfaces = ["late0"]\n'
    )
    said = [
        "static route 239.1.1.2 goes nowhere: late0 is missing",
        "static group 239.1.1.1 of down0 is refused by deny of the same interface",
    ]
    _, output = exit_code(lab.router, ["check", str(file)])
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
    assert all(words in output and words in mcfwd.read_log() for words in said)
    stack.enter_context(Receiver(lab.receivers[0], "239.1.1.2"))
    mcfwd.wait_for(lambda _: len(mcfwd.show("routes")) == 2, 10.0, "learned")
    assert [(row["kind"], row["note"]) for row in mcfwd.show("routes")] == [
        ("static", "goes nowhere: late0 is missing"), ("learned", "overruled by the static route 239.1.1.2"),
    ]  # fmt: skip
    assert mcfwd.group("down0", "239.1.1.1")["note"] == "static 239.1.1.1: refused by deny of the same interface"
