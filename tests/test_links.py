"""Names of links as the kernel allows them, and as they can be shown."""

import pytest
from netlink_messages import link_body
from test_assignment import link

from forwarder.config.rules import name_problem, quote
from forwarder.packet.rtnetlink import link_message
from forwarder.supervisor.links import enslaved, links_of, obstacle, printable


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


def bodies(*bodies: bytes):
    return links_of([link_message(memoryview(body)) for body in bodies], [])


@pytest.mark.parametrize(("kind", "words"), [
    (b"bridge", "eth0 is a port of the bridge br0, which takes what comes in: name br0 instead"),
    (b"bond", "eth0 is a port of the bond br0, which takes what comes in: name br0 instead"),
    (b"team", "eth0 is a port of the team br0, which takes what comes in: name br0 instead"),
    (b"openvswitch", "eth0 is a port of Open vSwitch, which takes what comes in: name its bridge instead "
                     "(ovs-vsctl port-to-br eth0)"),
    (b"vrf", None),
    (b"br\xff", None),
])  # fmt: skip
def test_who_takes_what_comes_in_is_named(kind, words):
    found = bodies(link_body(3, b"eth0", master=(9, kind)), link_body(9, b"br0", kind=kind))
    assert enslaved(found["eth0"]) == words
    assert enslaved(found["br0"]) is None


def test_a_master_that_the_picture_lacks_is_named_by_its_index():
    assert "the bridge of index 9" in enslaved(bodies(link_body(3, b"eth0", master=(9, b"bridge")))["eth0"])
