"""What may be changed at run time, and what the configuration file keeps to itself."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.settings import IgmpSettings, InterfaceSettings, RouteSettings, Settings
from forwarder.supervisor.changes import (
    MOST_GROUPS,
    MOST_OCTETS,
    MOST_ROUTES,
    Cause,
    ChangeError,
    apply,
    describe,
    ended_by,
    still_added,
)
from forwarder.supervisor.supervisor import NAMED, named

UP = InterfaceSettings(name="eth0", role="upstream")
TAPS = InterfaceSettings(name="tap*", static_groups=("239.5.5.5",))
SETTINGS = Settings(
    interface=(UP, InterfaceSettings(name="eth1"), TAPS, InterfaceSettings(name="off0", role="disabled")),
    route=(RouteSettings(group="239.9.9.9", source="10.0.0.0/8", interfaces=("eth1",)),),
)
ROUTE = {"group": "239.1.1.1", "source": None, "upstream": "eth0", "interfaces": ["eth1"]}
GROUP = {"interface": "eth1", "group": "239.1.1.1", "source": None}


def request(verb: str, noun: str, row: object) -> dict[str, object]:
    return {"type": verb, "noun": noun, "row": row}


def add(noun: str, row: object) -> dict[str, object]:
    return request("add", noun, row)


def delete(noun: str, row: object) -> dict[str, object]:
    return request("delete", noun, row)


def batch(requests: object) -> dict[str, object]:
    return {"type": "batch", "requests": requests}


def after(*requests: dict[str, object]) -> Added:
    added = Added()
    for each in requests:
        added = apply(each, added, SETTINGS)
    return added


def refusal(asked: dict[str, object], added: Added | None = None) -> tuple[Cause, str]:
    with pytest.raises(ChangeError) as caught:
        apply(asked, added or Added(), SETTINGS)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("noun", "row"), [("routes", ROUTE), ("groups", GROUP), ("groups", {**GROUP, "interface": "tap*"})]
)
def test_what_was_added_can_be_taken_back(noun, row):
    added = after(add(noun, row))
    assert added != Added()
    assert apply(delete(noun, row), added, SETTINGS) == Added()


def to(*interfaces: str, verb: str = "add", **said: object) -> dict[str, object]:
    return request(verb, "routes", {**ROUTE, "interfaces": [*interfaces], **said})


def test_a_route_that_was_added_gets_more_ways_out():
    before = {"group": "239.1.1.2"}
    added = after(to("eth1"), to("tap*", **before), to("tap0", "eth1"), to("tap1"))
    assert [route.interfaces for route in added.routes] == [("eth1", "tap0", "tap1"), ("tap*",)]
    assert refusal(to("tap1", "eth1"), added)[0] == Cause.EXISTS
    assert refusal(to("eth0"), added)[0] == Cause.INVALID       # where it comes from
    assert refusal(to("nowhere"), added)[0] == Cause.INVALID


def test_a_route_that_blocks_gets_no_ways_out_but_another_in_its_place():
    blocked = after(to())
    assert refusal(to("eth1"), blocked) == (
        Cause.EXISTS, "route 239.1.1.1 from eth0 exists already; `mcfwd route replace` changes it"
    )
    assert apply(to("eth1", verb="replace"), blocked, SETTINGS) == after(to("eth1"))


def test_a_route_takes_the_place_of_another_and_keeps_it():
    added = after(to("eth1"), to("tap*", group="239.1.1.2"))
    changed = apply(to("tap1", "tap2", verb="replace"), added, SETTINGS)
    assert [route.interfaces for route in changed.routes] == [("tap1", "tap2"), ("tap*",)]
    assert apply(to(verb="replace"), changed, SETTINGS).routes[0].interfaces == ()
    assert apply(to("eth1", verb="replace"), Added(), SETTINGS) == after(to("eth1"))
    assert describe(to("tap1", verb="replace")).startswith("replaced static route: ")


def test_a_route_of_the_file_is_replaced_there():
    own = {"group": "239.9.9.9", "source": "10.0.0.0/8", "upstream": None}
    assert refusal(to("eth1", verb="replace", **own))[0] == Cause.CONFIGURED
    assert refusal(request("replace", "groups", GROUP))[0] == Cause.INVALID


def test_no_more_routes_are_added_in_the_place_of_others_either():
    groups = [f"239.1.{at >> 8}.{at & 255}" for at in range(MOST_ROUTES)]
    full = Added(tuple(RouteSettings(group=group, upstream="eth0") for group in groups))
    assert refusal(to("eth1", verb="replace", group="239.2.0.0"), full)[0] == Cause.FULL
    assert len(apply(to("eth1", verb="replace", group="239.1.0.0"), full, SETTINGS).routes) == MOST_ROUTES


def test_one_of_several_is_taken_back():
    other = {**ROUTE, "source": "10.0.0.7"}
    added = after(add("routes", ROUTE), add("routes", other), delete("routes", ROUTE))
    assert [route.source for route in added.routes] == ["10.0.0.7"]


@pytest.mark.parametrize(
    ("asked", "reason", "words"),
    [
        (add("routes", {**ROUTE, "group": "239.1.1.1/32", "interfaces": []}), Cause.EXISTS, "exists already"),
        (add("groups", GROUP), Cause.EXISTS, "static group 239.1.1.1 on eth1 exists already"),
        (
            add("routes", {"group": "239.9.9.9", "source": "10.0.0.0/8"}),
            Cause.EXISTS,
            "route 239.9.9.9 source 10.0.0.0/8 is in the configuration file already",
        ),
        (add("groups", {"interface": "tap7", "group": "239.5.5.5"}), Cause.EXISTS, "configuration file already"),
        (delete("routes", {"group": "239.7.7.7"}), Cause.UNKNOWN, "there is no static route 239.7.7.7"),
        (delete("routes", {**ROUTE, "upstream": None}), Cause.UNKNOWN, "there is no static route 239.1.1.1"),
        (
            delete("routes", {**ROUTE, "interfaces": ["tap1"]}),
            Cause.UNKNOWN,
            "route 239.1.1.1 from eth0 goes to eth1, not to tap1",
        ),
        (delete("groups", {**GROUP, "source": "10.0.0.7"}), Cause.UNKNOWN, "source 10.0.0.7 on eth1"),
        (
            delete("routes", {"group": "239.9.9.9", "source": "10.0.0.0/8"}),
            Cause.CONFIGURED,
            "is in the configuration file; change it there",
        ),
        (delete("groups", {"interface": "tap*", "group": "239.5.5.5"}), Cause.CONFIGURED, "change it there"),
        (add("groups", {**GROUP, "interface": "off0"}), Cause.INVALID, '"off0" is disabled'),
        (add("groups", {**GROUP, "interface": ["eth1"]}), Cause.INVALID, "interface: should be text"),
        (add("groups", {**GROUP, "interface": "tap7", "group": "239.7.7.7,"}), Cause.INVALID, "group: "),
        (add("groups", {**GROUP, "interface": ""}), Cause.INVALID, "interface: is empty"),
        (add("groups", {**GROUP, "interface": "a/b"}), Cause.INVALID, "interface: "),
        (add("groups", {**GROUP, "group": "10.0.0.1"}), Cause.INVALID, "group: "),
        (add("groups", {**GROUP, "source": "239.0.0.1"}), Cause.INVALID, "source and group: "),
        (add("groups", {**GROUP, "group": "232.1.1.1"}), Cause.INVALID, "group: "),
        (add("routes", {**ROUTE, "interfaces": "eth1"}), Cause.INVALID, "interfaces: should be a list"),
        (add("routes", {**ROUTE, "interfaces": ["eth1", 7]}), Cause.INVALID, "interfaces: should be a list"),
        (add("routes", {**ROUTE, "interfaces": ["eth7"]}), Cause.INVALID, 'no [[interface]] covers "eth7"'),
        (delete("routes", {**ROUTE, "group": "10.0.0.1"}), Cause.INVALID, "group: "),
        (add("flows", {}), Cause.INVALID, "not a request that can be carried out"),
        (add("routes", 7), Cause.INVALID, "not a request that can be carried out"),
        ({}, Cause.INVALID, "not a request that can be carried out"),
    ],
)
def test_a_refusal_says_why(asked, reason, words):
    added = after(add("routes", ROUTE), add("groups", GROUP))
    refused, said = refusal(asked, added)
    assert refused is reason
    assert words in said


def test_what_can_be_added_is_bounded():
    many = Added(routes=tuple(RouteSettings(group=f"239.2.{at >> 8}.{at & 255}") for at in range(MOST_ROUTES)))
    assert refusal(add("routes", ROUTE), many)[0] is Cause.FULL


def test_the_octets_of_what_is_added_are_bounded_too():
    """Every change is published whole, beside ports that may get addresses later."""
    names = tuple(f"interface-{at:04}" for at in range(1100))
    many = Added(routes=tuple(RouteSettings(group=f"239.2.0.{at}", interfaces=names) for at in range(64)))
    assert refusal(add("routes", ROUTE), many)[0] is Cause.FULL
    route = {"group": "239.2.0.7", "source": None, "upstream": None, "interfaces": []}
    assert len(apply(delete("routes", route), many, SETTINGS).routes) == 63


def test_what_goes_to_nobody_is_said_so():
    blocked = after(add("routes", {"group": "239.1.1.1"}))
    asked = delete("routes", {"group": "239.1.1.1", "interfaces": ["eth1", "tap1"]})
    assert refusal(asked, blocked) == (Cause.UNKNOWN, "route 239.1.1.1 goes to nobody, not to eth1, tap1")


def test_the_last_that_fits_is_added():
    routes = tuple(RouteSettings(group=f"239.2.{at >> 8}.{at & 255}") for at in range(MOST_ROUTES - 1))
    assert len(apply(add("routes", ROUTE), Added(routes=routes), SETTINGS).routes) == MOST_ROUTES
    groups = tuple(("eth1", f"239.2.{at >> 8}.{at & 255}") for at in range(MOST_GROUPS - 1))
    full = apply(add("groups", GROUP), Added(groups=groups), SETTINGS)
    assert full.groups == (*groups, ("eth1", "239.1.1.1"))
    more = add("groups", {**GROUP, "group": "239.1.1.2"})
    assert refusal(more, full) == (Cause.FULL, f"no more than {MOST_GROUPS} static groups can be added at run time")


def test_what_is_added_may_take_so_many_octets_and_no_more():
    def beside(name: str) -> Added:
        other = RouteSettings(group="239.2.2.2", interfaces=(name,))
        return apply(add("routes", ROUTE), Added(routes=(other,)), SETTINGS)

    def octets(added: Added) -> int:
        return len(json.dumps(added.to_json(), separators=(",", ":")))

    room = MOST_OCTETS - octets(beside(""))
    assert octets(beside("x" * room)) == MOST_OCTETS == 1 << 20
    with pytest.raises(ChangeError, match=f"would take {MOST_OCTETS + 1} bytes; {MOST_OCTETS} have room"):
        beside("x" * (room + 1))


def test_a_name_has_the_static_groups_of_the_entry_it_is_configured_by():
    """Its own, or else the first wildcard's that covers it; any of them."""
    several = ("239.5.5.4", "239.5.5.5", "10.0.0.7,232.5.5.5")
    entries = (
        InterfaceSettings(name="tap*", static_groups=several),
        InterfaceSettings(name="t*", static_groups=("239.6.6.6",)),
        InterfaceSettings(name="tap9", static_groups=("239.7.7.7",)),
    )
    settings = replace(SETTINGS, interface=entries)

    def taken(name: str, group: str, source: str | None = None) -> bool:
        try:
            apply(add("groups", {"interface": name, "group": group, "source": source}), Added(), settings)
        except ChangeError as refused:
            return refused.reason is Cause.EXISTS
        return False

    assert [taken("tap1", group) for group in ("239.5.5.4", "239.5.5.5", "239.6.6.6", "239.7.7.7")] == [1, 1, 0, 0]
    assert [taken("tun1", group) for group in ("239.5.5.5", "239.6.6.6")] == [0, 1]
    assert [taken("tap9", group) for group in ("239.5.5.5", "239.7.7.7")] == [0, 1]
    assert [taken("tap1", "232.5.5.5", source) for source in ("10.0.0.7", "10.0.0.8")] == [1, 0]


def test_what_a_new_file_says_itself_is_no_longer_an_addition():
    elsewhere = {**GROUP, "interface": "tap3"}
    added = after(add("routes", ROUTE), add("groups", GROUP), add("groups", elsewhere))
    route = RouteSettings(group="239.1.1.1", upstream="eth0", interfaces=("tap*",))
    file = Settings(interface=(UP, InterfaceSettings(name="eth1", static_groups=("239.1.1.1",)), TAPS), route=(route,))
    assert still_added(added, SETTINGS) == added
    assert still_added(added, file) == Added(groups=(("tap3", "239.1.1.1"),))


def test_what_was_added_ends_where_its_group_takes_a_source_now():
    sourced = {**GROUP, "source": "10.0.0.7"}
    added = after(add("groups", GROUP), add("groups", sourced))
    file = replace(SETTINGS, igmp=IgmpSettings(ssm_range=("232.0.0.0/8", "239.1.0.0/16")))
    assert still_added(added, file) == Added(groups=(("eth1", "10.0.0.7,239.1.1.1"),))
    assert (ended_by(file, added), ended_by(SETTINGS, added)) == (["239.1.1.1 on eth1"], [])


def test_a_batch_is_its_changes_one_after_the_other():
    changed = to("tap*", verb="replace")
    several = [add("routes", ROUTE), add("groups", GROUP), changed, delete("groups", GROUP)]
    assert apply(batch(several), Added(), SETTINGS) == after(*several)
    assert apply(batch([]), after(*several), SETTINGS) == after(*several)


CHANGES = st.builds(
    to, st.sampled_from(["eth1", "tap1"]), verb=st.sampled_from(["add", "replace", "delete"]),
    group=st.sampled_from(["239.1.1.1", "239.1.1.2", "239.1.1.2/32", "10.0.0.1", "239.9.9.9"]),
    source=st.sampled_from([None, "10.0.0.0/8"]), upstream=st.sampled_from([None, "eth0", "eth9"]),
) | st.builds(
    request, st.sampled_from(["add", "delete"]), st.just("groups"),
    st.builds(lambda name, group: {**GROUP, "interface": name, "group": group},
              st.sampled_from(["eth1", "tap*", "off0"]), st.sampled_from(["239.1.1.1", "239.5.5.5", "232.1.1.1"])),
)  # fmt: skip


@given(st.lists(CHANGES, max_size=12))
def test_any_batch_is_what_single_changes_make_or_nothing(several):
    """And where one of them is refused, so is the batch: by its number and in its words."""
    def outcome(asked: dict[str, object], added: Added) -> Added | tuple[Cause, str]:
        try:
            return apply(asked, added, SETTINGS)
        except ChangeError as refused:
            return refused.reason, str(refused)

    one_by_one: Added | tuple[Cause, str] = Added()
    for each in several:
        if isinstance(one_by_one, Added):
            one_by_one = outcome(each, one_by_one)
    assert outcome(batch(several), Added()) == one_by_one


def test_what_is_refused_of_a_batch_has_its_number():
    with pytest.raises(ChangeError) as caught:
        apply(batch([add("routes", ROUTE), add("groups", GROUP), add("routes", ROUTE)]), Added(), SETTINGS)
    assert caught.value.operation == 2


@pytest.mark.parametrize("requests", [None, 7, {}, ["route add"], [[]]])
def test_what_is_no_batch_is_refused(requests):
    assert refusal(batch(requests)) == (Cause.INVALID, "not a batch that can be carried out")


def test_a_batch_that_adds_too_much_is_refused_where_it_is_too_much():
    several = [to("eth1", group=f"239.{at >> 16}.{at >> 8 & 255}.{at & 255}") for at in range(MOST_ROUTES + 1)]
    with pytest.raises(ChangeError) as caught:
        apply(batch(several), Added(), SETTINGS)
    assert (caught.value.reason, caught.value.operation) == (Cause.FULL, MOST_ROUTES)


def test_a_batch_is_one_line_of_the_log():
    several = [add("routes", ROUTE), to("eth1", group="239.1.1.2"), delete("groups", GROUP), to(verb="replace")]
    assert describe(batch(several)) == "batch: 2 static routes added, 1 static group deleted, 1 static route replaced"
    assert describe(batch([])) == "batch: nothing"


def test_a_change_is_logged_in_words():
    assert describe(add("routes", ROUTE)) == "added static route: group 239.1.1.1, upstream eth0, interfaces eth1"
    assert describe(delete("groups", GROUP)) == "deleted static group: interface eth1, group 239.1.1.1"


def test_additions_travel_with_the_configuration():
    port = Port(index=1, assigned=1, name="tap3", role="downstream", settings=TAPS)
    added = after(add("routes", ROUTE), add("groups", {**GROUP, "interface": "tap*"}))
    told = Configuration.from_json(json.loads(json.dumps(Configuration(4, SETTINGS, (port,), added).to_json())))
    assert told == Configuration(4, SETTINGS, (port,), added)
    assert told.static_groups(port) == ("239.5.5.5", "239.1.1.1")
    assert [route.group for route in told.routes] == ["239.9.9.9", "239.1.1.1"]


def test_ports_name_their_settings_and_carry_no_copy():
    """2,000 interfaces of one entry with long lists are one entry in the snapshot."""
    entry = replace(TAPS, allow=tuple(f"239.{at >> 8}.{at & 255}.0/24" for at in range(1500)))
    settings = replace(SETTINGS, interface=(UP, entry))
    ports = tuple(Port(at, 1, f"tap{at}", "downstream", entry, ifindex=at + 10) for at in range(2000))
    plain = json.dumps(Configuration(4, settings, ports).to_json())
    assert len(plain) < 600_000
    told = Configuration.from_json(json.loads(plain))
    assert told == Configuration(4, settings, ports)
    assert all(port.settings is told.settings.interface[1] for port in told.ports)


def test_the_ports_of_a_log_line_are_counted_where_they_are_many():
    ports = [f"eth{number} (downstream, missing)" for number in range(NAMED + 2)]
    assert named(ports[:2]) == "eth0 (downstream, missing), eth1 (downstream, missing)"
    assert named(ports[:NAMED]).count("missing") == NAMED
    assert named(ports).endswith(f"eth{NAMED - 1} (downstream, missing), 2 more")
