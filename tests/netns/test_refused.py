"""Receivers that get nothing because their joins are refused: `show` says who, where and by which rule.

    source  10.0.0.1 -- up0 [router] down0 -- receiver0, nothing is kept from it
                                     down1 -- receiver1, lists and a limit
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from forwarder.lab.mcfwd import exit_code
from forwarder.lab.topology import SOURCE
from netns.frames import Injector, Member, udp
from netns.plant import Plant, new_lab, plant_of
from netns.scenarios import SOON, Neighbour, record, v3_message

DENIED = "239.30.7.7"
SETTINGS = """
[igmp]
query_interval = 2.0
query_response_interval = 0.5
last_member_query_interval = 0.2
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
[[interface]]
name = "down1"
deny = ["239.30.0.0/16"]
boundary = ["239.33.0.0/16"]
max_groups = 2
"""


@pytest.fixture
def plant(tmp_path) -> Iterator[Plant]:
    """Two receivers behind the ports above, and the file that says so."""
    with new_lab(2) as lab, plant_of(lab, tmp_path, SETTINGS) as made:
        yield made


def wait_refusal(plant: Plant, group: str, **others: Any) -> dict[str, Any]:
    """The row of `show refusals` of a group with these values, as soon as there is one."""

    def found(_: object) -> dict[str, Any] | None:
        rows = [row for row in plant.mcfwd.show("refusals") or () if row["group"] == group]
        return next((row for row in rows if others.items() <= row.items()), None)

    return dict(plant.mcfwd.wait_for(found, SOON, f"refusal of {group} with {others}"))


def wait_admitted(plant: Plant, group: str) -> None:
    """Returns when nobody is refused the group."""
    plant.mcfwd.wait_for(
        lambda mcfwd: group not in [row["group"] for row in mcfwd.show("refusals")], SOON, f"no refusal of {group}"
    )


def send(plant: Plant, *groups: str) -> None:
    """A datagram to each group from upstream."""
    with Injector(plant.lab.source) as injector:
        injector.send(*(udp(SOURCE, group, b"datagram") for group in groups))


def wait_hint(plant: Plant, group: str, words: str | None, verdict: str = "no_members") -> None:
    """Returns when a flow's hint is just that; datagrams go on coming meanwhile."""

    def said(_: object) -> bool:
        send(plant, group)
        flows = [(row["verdict"], row["hint"]) for row in plant.mcfwd.show("flows") if row["group"] == group]
        return flows == [(verdict, words)]

    plant.mcfwd.wait_for(said, SOON, f"hint {words}")


def test_a_host_that_joins_a_denied_group_is_named_until_the_list_lets_it(plant, stack, tmp_path):
    """A kernel's join, its answers to queries, a reload, and the stream."""
    host = plant.lab.address(1)
    member = stack.enter_context(Member(plant.lab.receivers[1], DENIED))
    row = wait_refusal(plant, DENIED, host=host)
    assert (row["interface"], row["reason"], row["rule"]) == ("down1", "deny", "deny 239.30.0.0/16")
    assert (row["mode"], row["sources"]) == ("exclude", [])
    assert 0.0 <= row["last"] <= row["since"] < 60.0
    assert len(row["mac"].split(":")) == 6
    words = f"{host} asked for it on down1, refused by deny 239.30.0.0/16"
    wait_hint(plant, DENIED, words)
    plant.mcfwd.wait_for(lambda _: wait_refusal(plant, DENIED)["count"] >= 3, SOON, "answers to queries")
    later = wait_refusal(plant, DENIED)
    assert later["since"] > row["since"]
    assert later["since"] > later["last"]

    code, table = exit_code(plant.lab.router, ["show", "refusals", "--socket", plant.mcfwd.socket])
    assert code == 0
    assert all(text in table for text in ("down1", DENIED, host, "deny 239.30.0.0/16"))
    code, table = exit_code(plant.lab.router, ["show", "flows", "--socket", plant.mcfwd.socket])
    assert (code, words in table) == (0, True)

    (tmp_path / "mcfwd.toml").write_text(SETTINGS.replace("239.30.0.0/16", "239.31.0.0/16"))
    assert plant.mcfwd.request("POST", "/v1/reload")[0] == 201
    plant.mcfwd.wait_member("down1", DENIED, SOON)
    wait_admitted(plant, DENIED)
    send(plant, DENIED)
    assert member.receive(1)


def test_who_is_refused_what_another_interface_gets_is_named(plant, stack):
    """Until it is refused no more the flow that is forwarded says so; then it has no hint."""
    served = plant.join(stack, 0, DENIED)
    with Member(plant.lab.receivers[1], DENIED):
        words = f"{plant.lab.address(1)} asked for it on down1, refused by deny 239.30.0.0/16"
        wait_hint(plant, DENIED, words, "forward")
    wait_hint(plant, DENIED, None, "forward")
    send(plant, DENIED)
    assert served.receive(1)


def test_who_leaves_is_refused_no_more(plant):
    with Member(plant.lab.receivers[1], "239.33.1.1"):
        wait_refusal(plant, "239.33.1.1", reason="boundary", rule="boundary 239.33.0.0/16")
    wait_admitted(plant, "239.33.1.1")
    wait_hint(plant, "239.33.1.1", "nobody has joined")


# RFC 9776 9.3 a
def test_every_rule_by_which_a_report_is_refused(plant, stack):
    """Said by hand: TTL, another subnet, another destination, version 2 and any source in the SSM range, a limit."""
    neighbour = stack.enter_context(Neighbour(plant.lab.receivers[1], plant.lab.address(1)))
    groups = [plant.group() for _ in range(5)]

    def report(group: str) -> bytes:
        return v3_message(record("TO_EX", group))

    neighbour.say(report(groups[0]), "224.0.0.22", ttl=5)
    neighbour.say(report(groups[1]), "224.0.0.22", "172.16.9.9")
    neighbour.say(report(groups[2]), "224.0.0.99")
    neighbour.report_old(2, "232.1.1.1")
    neighbour.report(record("TO_EX", "232.1.1.2"))
    expected = [
        (groups[0], "ttl", "accept_any_ttl"), (groups[1], "off_subnet", "altnets"),
        (groups[2], "destination", "destination 224.0.0.99"), ("232.1.1.1", "version", "ssm_range 232.0.0.0/8"),
        ("232.1.1.2", "ssm", "ssm_range 232.0.0.0/8"),
    ]  # fmt: skip
    for group, reason, rule in expected:
        wait_refusal(plant, group, reason=reason, rule=rule)
    refused = "refused since it is in no subnet of the link (altnets)"
    wait_hint(plant, groups[1], f"172.16.9.9 asked for it on down1, {refused}")
    neighbour.report(*(record("TO_EX", group) for group in (groups[3], groups[4], groups[0])))
    wait_refusal(plant, groups[0], reason="max_groups", rule="max_groups 2", count=1)


def test_an_agent_that_stands_still_or_dies_keeps_no_flow_from_being_shown(plant, stack):
    stack.enter_context(Member(plant.lab.receivers[1], DENIED))
    host = plant.lab.address(1)
    wait_hint(plant, DENIED, words := f"{host} asked for it on down1, refused by deny 239.30.0.0/16")
    former = plant.mcfwd.kill("mcfwd-agent", signal.SIGSTOP)
    begun = time.monotonic()
    for _ in range(3):
        assert [row["hint"] for row in plant.mcfwd.show("flows")] == [words]
    assert time.monotonic() - begun < 5.0
    os.kill(former, signal.SIGKILL)
    plant.mcfwd.wait_replaced("mcfwd-agent", former)
    wait_refusal(plant, DENIED, host=host)


def test_a_million_refused_joins_of_a_neighbour_leave_a_short_table_and_an_agent_that_answers(plant, stack):
    """Ten thousand reports of a hundred groups each, from as many addresses, while somebody else is served."""
    neighbour = stack.enter_context(Neighbour(plant.lab.receivers[1], plant.lab.address(1)))
    records = [record("TO_EX", f"239.33.{number}.9") for number in range(100)]
    for number in range(10_000):
        neighbour.report(*records, source=f"192.168.11.{10 + number % 200}")
        if number % 1000 == 500:
            plant.join(stack, 0, plant.group())
    rows = plant.mcfwd.wait_for(lambda mcfwd: mcfwd.show("refusals"), SOON, "refusals")
    assert 100 <= len(rows) <= 1024
    status, page = plant.mcfwd.request("GET", "/v1/refusals?limit=10&group=239.33.0.0/16")
    assert (status, len(page)) == (200, 10)
