"""Allow and deny lists, boundaries and rate limits: the same word for membership and for data, port by port.

    source  10.0.0.1, 10.0.0.7 -- up0 [router] down0 -- receiver0, nothing is kept from it but 239.33/16
                                               down1 -- receiver1, lists
                                               down2 -- receiver2, limits
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from netns.frames import Injector, udp
from netns.plant import IGMP_SETTINGS, Plant, new_lab, plant_of
from netns.site import send_igmp, told, v2_report, v3_report

OTHER = "10.0.0.7"
OPEN = "239.1.1.1"              # admitted by every list
SETTINGS = """
[[interface]]
name = "up0"
role = "upstream"
deny = ["239.32.0.0/16"]
boundary = ["239.33.0.0/16"]
[[interface]]
name = "down0"
[[interface]]
name = "down1"
allow = ["239.1.0.0/16", "239.30.0.0/16", "10.0.0.0/24,239.31.0.0/16"]
deny = ["239.30.7.0/24", "10.0.0.7,239.31.0.0/16"]
boundary = ["239.1.255.0/24"]
[[interface]]
name = "down2"
max_groups = 4
rate_limit = "80kbit"
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """Three receivers behind the ports above."""
    with new_lab(3) as lab:
        links.add_address(lab.source, LINK, f"{OTHER}/24")
        with plant_of(lab, tmp_path_factory.mktemp("lists"), IGMP_SETTINGS + SETTINGS) as made:
            yield made


@pytest.fixture
def reaches(plant: Plant, stack: ExitStack) -> Callable[..., list[str]]:
    """Which of down0 and down1 a datagram goes out of: `reaches(group, source)`."""
    for number in (0, 1):
        plant.join(stack, number, OPEN)
    captures = [stack.enter_context(Capture(plant.lab.receivers[number], protocol=UDP)) for number in (0, 1)]
    injector = stack.enter_context(Injector(plant.lab.source))
    numbers = iter(range(1, 1000))

    def send(group: str, source: str = SOURCE) -> list[str]:
        payload, mark = b"number %d" % next(numbers), b"marker %d" % next(numbers)
        injector.send(udp(source, group, payload), udp(SOURCE, OPEN, mark))
        for capture in captures:
            capture.wait_for(lambda frame: frame.payload[8:] == mark, 10.0, "marker")
        found = [capture.select(lambda frame: frame.payload[8:] == payload) for capture in captures]
        return [f"down{number}" for number, frames in enumerate(found) if frames]

    return send


def refused(plant: Plant, number: int, group: str) -> None:
    """A report for `group` on this port is counted by boundary and leaves no state."""
    before = plant.mcfwd.interface(f"down{number}")["igmp"]["rx_boundary"]
    send_igmp(plant.lab.receivers[number], v2_report(group), group)
    plant.mcfwd.wait_for(
        lambda mcfwd: mcfwd.interface(f"down{number}")["igmp"]["rx_boundary"] > before, 5.0, "refusal"
    )
    assert plant.mcfwd.group(f"down{number}", group) is None


def reported(capture: Capture, group: str) -> list[str]:
    frames = capture.select(lambda frame: frame.source == UPSTREAM)
    return [each.kind for frame in frames for each in told(frame) if each.group == group]


@pytest.mark.parametrize("group", ["239.40.1.1", "239.30.7.1", "239.1.255.1"], ids=["unnamed", "denied", "boundary"])
def test_a_port_takes_no_membership_that_its_lists_do_not_admit(plant, group):
    refused(plant, 1, group)


@pytest.mark.parametrize("group", ["239.40.1.2", "239.30.7.2", "239.1.255.2"], ids=["unnamed", "denied", "boundary"])
def test_a_member_on_another_port_gets_what_this_one_may_not(plant, reaches, stack, group):
    plant.join(stack, 0, group)
    assert reaches(group) == ["down0"]


def test_what_is_admitted_flows_to_both(plant, reaches, stack):
    group = "239.30.1.1"
    for number in (0, 1):
        plant.join(stack, number, group)
    assert reaches(group) == ["down0", "down1"]


def test_a_source_is_denied_and_the_other_is_not(plant, reaches, stack):
    group = "239.31.1.1"
    plant.join(stack, 0, group)
    plant.mcfwd.request("POST", "/v1/routes", {"group": group, "interfaces": ["down0", "down1"]})
    plant.mcfwd.wait_for(  # the request is answered when it is accepted, a moment before it is carried out
        lambda mcfwd: (group, "static") in [(row["group"], row["kind"]) for row in mcfwd.show("routes")]
    )
    assert reaches(group) == ["down0", "down1"]
    assert reaches(group, OTHER) == ["down0"]
    plant.mcfwd.request("DELETE", "/v1/routes", {"group": group})


def test_denied_members_do_not_hold_a_group_upstream(plant, stack):
    group = "239.30.7.9"
    upstream = stack.enter_context(Capture(plant.lab.source, protocol=IGMP))
    member = plant.join(stack, 0, group)
    refused(plant, 1, group)
    member.__exit__()
    upstream.wait_for(
        lambda frame: frame.source == UPSTREAM and ("TO_IN", group) in [(e.kind, e.group) for e in told(frame)], 10.0
    )


@pytest.mark.parametrize("group", ["239.32.1.1", "239.33.1.1"], ids=["denied", "boundary"])
def test_upstream_is_not_told_and_sends_nothing_of_what_it_does_not_admit(plant, reaches, stack, group):
    upstream = stack.enter_context(Capture(plant.lab.source, protocol=IGMP))
    plant.join(stack, 0, group)
    plant.join(stack, 0, other := plant.group())
    upstream.wait_for(lambda frame: frame.source == UPSTREAM and other in [e.group for e in told(frame)], 5.0)
    assert reported(upstream, group) == []
    before = plant.drops()["up0", "boundary"]
    assert reaches(group) == []
    assert plant.drops()["up0", "boundary"] == before + 1
    assert [row for row in plant.mcfwd.show("upstream") if row["group"] == group] == []
    row = plant.mcfwd.group("down0", group)
    assert row["note"] == f"not asked for upstream: refused by {'deny' if group == '239.32.1.1' else 'boundary'} of up0"


def test_a_boundary_keeps_downstream_sources_in_too(plant, stack):
    group = "239.33.1.2"
    upstream = stack.enter_context(Capture(plant.lab.source, protocol=UDP))
    plant.join(stack, 0, group)
    with Injector(plant.lab.receivers[2]) as injector, Capture(plant.lab.receivers[0], protocol=UDP) as link:
        injector.send(udp(plant.lab.address(2), group, b"within"))
        link.wait_for(lambda frame: frame.payload[8:] == b"within", 5.0)
        injector.send(udp(plant.lab.address(2), OPEN, b"open"))
        upstream.wait_for(lambda frame: frame.payload[8:] == b"open", 5.0)
    assert upstream.select(lambda frame: frame.destination == group) == []


def test_the_fifth_group_is_refused_until_one_is_free(plant, stack):
    groups = [plant.group() for _ in range(5)]
    members = [plant.join(stack, 2, group) for group in groups[:4]]
    before = plant.mcfwd.interface("down2")["igmp"]["limit_reached"]
    send_igmp(plant.lab.receivers[2], v3_report(groups[4]), "224.0.0.22")
    plant.mcfwd.wait_for(lambda mcfwd: mcfwd.interface("down2")["igmp"]["limit_reached"] > before, 5.0, "refusal")
    assert plant.mcfwd.group("down2", groups[4]) is None
    members[0].__exit__()
    plant.mcfwd.wait_for(lambda mcfwd: mcfwd.group("down2", groups[0]) is None, 10.0, "room")
    plant.join(stack, 2, groups[4])


def test_a_port_sends_no_more_than_its_rate_and_the_others_all(plant, stack):
    group = plant.group()
    members = {number: plant.join(stack, number, group) for number in (0, 2)}
    before = plant.drops()["down2", "rate_limited"]
    with Injector(plant.lab.source) as injector:
        injector.send(*(udp(SOURCE, group, bytes(1000)) for _ in range(100)))
    assert len(members[0].receive(100)) == 100
    passed = len(members[2].rest(0.5))
    plant.mcfwd.wait_for(lambda _: plant.drops()["down2", "rate_limited"] - before == 100 - passed, 5.0, "drops")
    assert 0 < passed < 50
    row = plant.flow(group)
    assert (row["verdict"], row["dropped"]) == ("forward", {"down2": {"rate_limited": 100 - passed}})
    assert row["hint"] == "over rate_limit of down2: raise it, or send less"
