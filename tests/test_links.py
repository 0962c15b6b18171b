"""Names of links as the kernel allows them, and as they can be shown."""

import pytest
from test_assignment import link

from forwarder.rules import name_problem, quote
from forwarder.supervisor.links import obstacle, printable


@pytest.mark.parametrize(("name", "shown"), [
    ("eth0", "eth0"),
    ("küche", "küche"),
    (b"x\xff\xfe", "x\\xff\\xfe"),
    ("a\x1b[2Jb", "a\\x1b[2Jb"),
    ("a\u202eb", "a\\u202eb"),
    (b"\x01", "\\x01"),
])  # fmt: skip
def test_every_name_can_be_printed_and_sent(name, shown):
    assert printable(name) == shown
    assert printable(name).isprintable()
    printable(name).encode()


@pytest.mark.parametrize("name", ["\ud800", "eth\udfff"])
def test_text_that_is_not_unicode_is_no_name_and_can_be_quoted(name):
    assert "is not Unicode text" in name_problem(name)
    quote(name).encode()


def test_what_can_never_be_used_is_said_in_words():
    assert obstacle(link("eth0", 2)) is None
    assert obstacle(link("lo", 1, loopback=True)) == (
        "lo is a loopback interface, which carries no multicast between networks"
    )
    assert obstacle(link("can0", 3, link_type=280)) == (
        "can0 has link type 280, which is neither Ethernet nor plain IP"
    )
