"""Static groups with ranges: what they mean, one by one."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.rules import of_settings
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.state.static_groups import (
    AddressRange,
    AddressRangeError,
    StaticEntry,
    is_single,
    members,
    memberships,
    size,
)
from forwarder.supervisor.changes import Cause, ChangeError, apply
from igmp.link import Network, parse_address

MOST_GROUPS = (f"239.{number}.0.0/20" for number in range(17))


@pytest.mark.parametrize(("texts", "single"), [
    (("239.1.1.1",), ["239.1.1.1"]),
    (("239.1.1.1-239.1.1.3",), ["239.1.1.1", "239.1.1.2", "239.1.1.3"]),
    ((" 239.1.1.254 - 239.1.2.1 ",), ["239.1.1.254", "239.1.1.255", "239.1.2.0", "239.1.2.1"]),
    (("239.1.1.4/30",), ["239.1.1.4", "239.1.1.5", "239.1.1.6", "239.1.1.7"]),
    (("10.0.0.1-10.0.0.2,232.1.1.1-232.1.1.2",),
     ["10.0.0.1,232.1.1.1", "10.0.0.2,232.1.1.1", "10.0.0.1,232.1.1.2", "10.0.0.2,232.1.1.2"]),
    (("10.0.0.8/31, 232.1.1.1",), ["10.0.0.8,232.1.1.1", "10.0.0.9,232.1.1.1"]),
    (("239.1.1.2", "239.1.1.1-239.1.1.3"), ["239.1.1.2", "239.1.1.1", "239.1.1.3"]),
    (("255.255.255.255",), ["255.255.255.255"]),
    ((), []),
])  # fmt: skip
def test_ranges_are_single_memberships_each_once(texts, single):
    assert list(members(texts)) == single
    assert len(memberships(texts)) == len(single)
    assert size(texts) >= len(single)


def test_what_has_no_range_stays_as_it_was_written():
    assert members((" 239.1.1.1 ", "10.0.0.7 , 232.1.1.1")) == (" 239.1.1.1 ", "10.0.0.7 , 232.1.1.1")


@pytest.mark.parametrize(("text", "words"), [
    ("239.1.1.2-239.1.1.1", "is no range: 239.1.1.1 comes before 239.1.1.2"),
    ("239.1.1.1/24", "has host bits set; write 239.1.1.0/24"),
])  # fmt: skip
def test_what_cannot_be_a_range_says_why(text, words):
    with pytest.raises(AddressRangeError, match=words):
        AddressRange.parse(text)


@given(st.text("0123456789./-, ", max_size=24))
def test_any_text_is_an_entry_or_a_wrong_value(text):
    try:
        spans = StaticEntry.parse(text)
    except ValueError:
        return
    assert len(spans) >= 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(0, 300))
def test_a_range_has_its_ends_and_what_lies_between(first, more, groups):
    last = min(first + more, 2**32 - 1)
    text = f"{IPv4Address(first)}-{IPv4Address(last)}"
    assert list(AddressRange.parse(text)) == list(range(first, last + 1))
    both = StaticEntry.parse(f"{text},239.1.0.0-{IPv4Address(parse_address('239.1.0.0') + groups)}")
    assert len(both) == (last - first + 1) * (groups + 1)


@pytest.mark.parametrize(("network", "meets"), [
    ("239.1.1.0/24", True), ("239.1.1.9", True), ("239.1.1.10/31", False), ("239.1.0.0/24", False), ("0.0.0.0/0", True),
])  # fmt: skip
def test_a_range_meets_networks(network, meets):
    assert AddressRange.parse("239.1.1.1-239.1.1.9").meets(Network.parse(network)) is meets


def test_a_port_has_what_its_ranges_mean_and_what_was_added():
    port = Port(1, 1, "eth1", "downstream", InterfaceSettings(name="eth1", static_groups=("239.1.1.0/31",)))
    configuration = Configuration(1, Settings(), (port,), Added(groups=(("eth*", "239.2.2.2"),)))
    assert configuration.static_groups(port) == ("239.1.1.0", "239.1.1.1", "239.2.2.2")


def test_what_a_range_of_the_file_has_cannot_be_added_or_taken_away_at_run_time():
    settings = Settings(interface=(InterfaceSettings(name="eth1", static_groups=("239.1.1.0/26",)),))
    for kind, reason in (("add", Cause.EXISTS), ("delete", Cause.CONFIGURED)):
        request = {"type": kind, "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.63"}}
        with pytest.raises(ChangeError) as caught:
            apply(request, Added(), settings)
        assert caught.value.reason is reason
    request = {"type": "add", "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.64"}}
    assert apply(request, Added(), settings).groups == (("eth1", "239.1.1.64"),)


def test_all_interfaces_together_have_a_bound():
    entries = tuple(InterfaceSettings(name=f"eth{at}", static_groups=(text,)) for at, text in enumerate(MOST_GROUPS))
    assert [text for key, text in of_settings(Settings(interface=entries)) if "static" in text] == [
        "all static_groups together are 69632 memberships; there is room for 65536"
    ]
    assert not [text for _, text in of_settings(Settings(interface=entries[1:])) if "static" in text]


def test_a_single_one_has_no_mark_of_a_range():
    assert [is_single(each) for each in ("239.1.1.1", "10.0.0.7,239.1.1.1", "239.1.1.0/26", "1-2")] == [
        True, True, False, False,
    ]  # fmt: skip
