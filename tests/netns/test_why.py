"""`mcfwd why` on real links: each of the usual mistakes is the first cross, and all is ticks after the remedy it names.

    source  10.0.0.1 -- up0 [router] down0 -- receiver0
                                     down1 -- receiver1

One instance for all of them; the sender sends 25 datagrams a second of every group with TTL 16, unless a test says so.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import exit_code
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import SOURCE
from netns.frames import Member, Source
from netns.plant import Plant, new_lab, plant_of
from netns.scenarios import SOON, Neighbour

SETTINGS = """
[igmp]
query_interval = 2.0
query_response_interval = 0.5
last_member_query_interval = 0.2
ssm_range = ["232.0.0.0/8"]
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
[[interface]]
name = "down1"
deny = ["239.30.0.0/16"]
"""
PAUSE = 0.04    # seconds between two datagrams


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """The instance, and an upstream router that asked once."""
    directory = tmp_path_factory.mktemp("why")
    with new_lab(2) as lab, ExitStack() as started:
        links.add_address(lab.router, "down0", "192.168.10.5/24")       # so that there are lower addresses
        links.delete_address(lab.router, "down0", "192.168.10.1/24")
        made = started.enter_context(plant_of(lab, directory, SETTINGS))
        made.file = directory / "mcfwd.toml"
        yield made


@contextmanager
def sending(plant: Plant, group: str, **options: Any) -> Iterator[Sender]:
    with Sender(plant.lab.source, group, rate=1 / PAUSE, size=64, burst=1, **{"ttl": 16, **options}) as sender:
        yield sender


def asked(plant: Plant) -> None:
    """The router upstream asks."""
    with Neighbour(plant.lab.source, SOURCE) as router:
        router.query()


def why(plant: Plant, group: str, receiver: str = "", source: str = "") -> dict[str, Any]:
    said = "".join(f"&{name}={text}" for name, text in (("receiver", receiver), ("source", source)) if text)
    status, answer = plant.mcfwd.request("GET", f"/v1/why?group={group}{said}")
    assert status == 200, answer
    return dict(answer)


def wait_cross(plant: Plant, step: str, *question: str, send: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """The first cross, as soon as it is at that step."""

    def found(_: object) -> dict[str, Any] | None:
        send()
        crosses = [each for each in why(plant, *question)["steps"] if not each["ok"]]
        return crosses[0] if crosses and crosses[0]["step"] == step else None

    return dict(plant.mcfwd.wait_for(found, SOON, f"cross at {step}"))


def wait_ticks(plant: Plant, *question: str, send: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """The answer, as soon as all its steps are ticks."""

    def found(_: object) -> dict[str, Any] | None:
        send()
        answer = why(plant, *question)
        return answer if answer["verdict"] == "flows" else None

    answer = dict(plant.mcfwd.wait_for(found, SOON, "all ticks"))
    assert all(step["ok"] for step in answer["steps"])
    return answer


def reload(plant: Plant, *changes: tuple[str, str]) -> None:
    settings = SETTINGS
    for before, after in changes:
        assert before in settings
        settings = settings.replace(before, after)
    plant.file.write_text(settings)
    assert plant.mcfwd.request("POST", "/v1/reload")[0] == 201


@pytest.fixture
def reloaded(plant: Plant) -> Iterator[Callable[..., None]]:
    """Reloads with other settings; those there were come back."""
    yield lambda *changes: reload(plant, *changes)
    reload(plant)


def test_a_missing_upstream_query_and_a_sender_that_does_not_send(plant, stack):
    """First of all tests: nobody has asked upstream yet."""
    group = plant.group()
    plant.join(stack, 0, group)
    cross = wait_cross(plant, "query", group, "down0")
    assert "no query was heard on up0" in cross["words"]
    assert "switch on the querier of the router or switch there" in cross["remedy"]
    asked(plant)
    cross = wait_cross(plant, "frames", group, "down0")
    assert f"tcpdump -ni up0 host {group}" in cross["remedy"]
    stack.enter_context(sending(plant, group))
    answer = wait_ticks(plant, group, plant.lab.address(0))
    words = {step["step"]: step["words"] for step in answer["steps"]}
    assert f"{SOURCE} sends it, by up0, " in words["frames"]
    assert "TTL 16" in words["frames"]
    assert f"{SOURCE} asked on up0" in words["query"]
    assert "were sent on down0" in words["sent"]


def test_a_ttl_1_sender(plant, stack):
    group = plant.group()
    plant.join(stack, 0, group)
    with sending(plant, group, ttl=1):
        cross = wait_cross(plant, "ttl", group)
        assert (cross["words"], cross["remedy"]) == ("sender uses TTL 1", "raise it (IP_MULTICAST_TTL)")
        frames = next(each for each in why(plant, group)["steps"] if each["step"] == "frames")
        assert "TTL 1," in frames["words"]
    with sending(plant, group):
        wait_ticks(plant, group)
    with sending(plant, group, ttl=1):      # it flowed before
        wait_cross(plant, "ttl", group)


def test_a_denied_group(plant, stack, reloaded):
    group = "239.30.1.1"
    stack.enter_context(Member(plant.lab.receivers[1], group))
    stack.enter_context(sending(plant, group))
    for receiver in (plant.lab.address(1), "down1", ""):
        cross = wait_cross(plant, "report", group, receiver)
        assert f"{plant.lab.address(1)} asked for it on down1, refused by deny 239.30.0.0/16" in cross["words"]
        assert "take it out of deny of down1" in cross["remedy"]
    reloaded(("239.30.0.0/16", "239.31.0.0/16"))
    wait_ticks(plant, group, plant.lab.address(1))


def test_a_bridge_member_as_port(plant, stack):
    group = plant.group()
    plant.join(stack, 1, group)
    stack.enter_context(sending(plant, group))
    wait_ticks(plant, group, "down1")
    links.bridge(plant.lab.router, "br0", ["down1"])
    cross = wait_cross(plant, "member", group, "down1")
    assert "down1 is a port of the bridge br0" in cross["words"]
    assert "name br0 instead, or take down1 out of it (ip link set down1 nomaster)" in cross["remedy"]
    links.configure(plant.lab.router, "down1", master=0)
    links.delete(plant.lab.router, "br0")
    wait_ticks(plant, group, "down1")


def test_a_lost_querier_election(plant, stack, reloaded):
    group = plant.group()
    plant.join(stack, 0, group)
    stack.enter_context(sending(plant, group))
    lower = "192.168.10.2"
    other = stack.enter_context(Neighbour(plant.lab.receivers[0], lower))
    cross = wait_cross(plant, "querier", group, "down0", send=lambda: other.query(interval=2))
    assert f"down0: {lower} is the querier there" in cross["words"]
    assert "set forward_when_not_querier" in cross["remedy"]
    steps = {step["step"] for step in why(plant, group, "down0")["steps"]}
    assert {"report", "frames"} <= steps
    assert "sent" not in steps
    reloaded(("[[interface]]\nname = \"down0\"", "[[interface]]\nname = \"down0\"\nforward_when_not_querier = true"))
    wait_ticks(plant, group, "down0", send=lambda: other.query(interval=2))


def test_an_mtu(plant, stack):
    group = plant.group()
    plant.join(stack, 1, group)
    links.configure(plant.lab.router, "down1", mtu=1200)
    source = stack.enter_context(Source(plant.lab.source, dont_fragment=True))
    question = (group, plant.lab.address(1))
    cross = wait_cross(plant, "mtu", *question, send=lambda: source.send(group, bytes(1400)))
    assert "longer than the MTU of down1 (1200)" in cross["words"]
    assert "raise its MTU" in cross["remedy"]
    links.configure(plant.lab.router, "down1", mtu=1500)
    wait_ticks(plant, *question, send=lambda: source.send(group, bytes(1400)))


def test_an_off_subnet_source(plant, stack, reloaded):
    reloaded(('role = "upstream"', 'role = "upstream"\naltnets = ["10.7.0.0/16"]'))
    group, far = plant.group(), "172.20.0.9"
    links.add_address(plant.lab.source, "eth0", f"{far}/32")
    plant.join(stack, 0, group)
    stack.enter_context(sending(plant, group, bind=far))
    cross = wait_cross(plant, "source", group, "", far)
    assert f"{far}: source is in no subnet of up0" in cross["words"]
    assert "add its network to altnets there" in cross["remedy"]
    reloaded(('role = "upstream"', 'role = "upstream"\naltnets = ["172.20.0.0/16"]'))
    wait_ticks(plant, group, "down0", far)


def test_a_source_specific_group_joined_without_source(plant, stack):
    group = "232.1.1.7"
    stack.enter_context(sending(plant, group))
    with Member(plant.lab.receivers[0], group):
        cross = wait_cross(plant, "report", group, plant.lab.address(0))
        assert "asked for any source (ssm_range 232.0.0.0/8)" in cross["words"]
        assert "have the program name its source" in cross["remedy"]
    receiver = stack.enter_context(Receiver(plant.lab.receivers[0]))
    receiver.join(group, SOURCE)
    wait_ticks(plant, group, plant.lab.address(0))


def test_the_command_says_it_and_its_status(plant, stack):
    """For people and for programs."""
    group = plant.group()
    plant.join(stack, 0, group)
    ask = ["why", group, "down0", "--socket", plant.mcfwd.socket]
    code, text = exit_code(plant.lab.router, ask)
    assert (code, "It does not flow to down0: no frame to" in text) == (1, True)
    assert "tcpdump -ni up0" in text
    stack.enter_context(sending(plant, group))
    wait_ticks(plant, group)
    code, text = exit_code(plant.lab.router, [*ask, "--json"])
    answer = json.loads(text)
    assert (code, answer["group"], answer["receiver"], answer["verdict"]) == (0, group, "down0", "flows")
    assert all(set(step) == {"step", "ok", "words", "remedy"} for step in answer["steps"])


def test_an_agent_that_stands_still_costs_its_steps_and_no_more(plant, stack):
    group = plant.group()
    plant.join(stack, 0, group)
    stack.enter_context(sending(plant, group))
    wait_ticks(plant, group, "down0")
    former = plant.mcfwd.kill("mcfwd-agent", signal.SIGSTOP)
    begun = time.monotonic()
    answer = why(plant, group, "down0")
    assert time.monotonic() - begun < 3.0
    words = {step["step"]: step["words"] for step in answer["steps"]}
    assert answer["verdict"] == "flows"
    assert "the agent does not answer" in words["agent"]
    assert "somebody on down0 has joined" in words["report"]
    assert "reported" not in words
    os.kill(former, signal.SIGKILL)
    plant.mcfwd.wait_replaced("mcfwd-agent", former)
    wait_ticks(plant, group, "down0")
