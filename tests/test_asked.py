import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from forwarder.api.asked import LARGEST_PAGE, PAGE, followed, page_of
from forwarder.api.pages import Page
from forwarder.api.server import RefusedError
from forwarder.nouns import NOUNS
from igmp.link import Network

NAMES = ("group", "interface", "host", "source", "problems", "order", "offset", "limit")


def asked(noun: str, *parameters: tuple[str, str]) -> Page:
    return page_of(noun, MultiDict(parameters))


def test_what_is_not_said_is_all_and_of_flows_a_page():
    assert (asked("flows").limit, asked("groups").limit) == (PAGE, sys.maxsize)
    assert (asked("flows", ("limit", "99999")).limit, asked("groups", ("limit", "99999")).limit) == (
        LARGEST_PAGE, 99999
    )  # fmt: skip
    assert asked("flows") == Page()


def test_one_kind_may_be_said_several_times_and_host_bits_are_no_matter():
    page = asked("hosts", ("group", "239.1.2.3"), ("group", "239.1.2.3/8"), ("host", "10.1.2.3/8"), ("interface", "t*"))
    assert page.groups == (Network.parse("239.1.2.3"), Network.parse("239.0.0.0/8"))
    assert (page.hosts, page.interfaces) == ((Network.parse("10.0.0.0/8"),), ("t*",))
    assert followed(MultiDict([("group", "a"), ("group", "b"), ("host", "c")])) == "group, host"


def test_an_order_is_a_key_with_its_direction_or_the_worst():
    found = [(page.key, page.descending, page.worst) for page in (
        asked("flows", ("order", order)) for order in ("idle", "-idle", "worst"))]  # fmt: skip
    assert found == [("idle", False, False), ("idle", True, False), (None, False, True)]


@pytest.mark.parametrize(("noun", "name", "value", "words"), [
    ("flows", "colour", "red", '"colour": no such parameter here; flows can be asked for by group, interface, source'),
    ("interfaces", "group", "239.1.2.3", '"group": no such parameter here; interfaces can be asked for by interface'),
    ("stats", "limit", "1", '"limit": no such parameter here; stats takes none'),
    ("groups", "order", "worst", 'order: groups have no key "worst"; they have interface, group'),
    ("flows", "order", "", 'order: flows have no key ""; they have worst, group'),
    ("flows", "source", "x", "source: should be an address or a network"),
    ("flows", "problems", "2", 'problems: should be "true", or left out'),
    ("flows", "limit", "\u0663", "limit: should be a whole number"),
    ("flows", "offset", "9" * 19, "offset: should be a whole number"),
])  # fmt: skip
def test_what_cannot_be_followed_is_refused_in_words(noun, name, value, words):
    with pytest.raises(RefusedError) as refused:
        asked(noun, (name, value))
    assert (refused.value.status, str(refused.value)[: len(words)]) == (400, words)


@given(st.sampled_from(list(NOUNS)), st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=70)), max_size=4))
def test_anything_is_a_page_or_refused(noun, parameters):
    with suppress(RefusedError):
        assert isinstance(asked(noun, *parameters), Page)
