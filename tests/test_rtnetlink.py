"""Raw rtnetlink messages: the kernel's are read as they are meant, and no other octets end the walk or us."""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netlink_messages import UP, address_body, attribute, link_body, message, new_address, new_link

from forwarder.packet.rtnetlink import (
    ADDRESSES,
    LINKS,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    AddressMessage,
    LinkMessage,
    LinkNotice,
    Message,
    RtnetlinkError,
    address_message,
    attributes,
    failure,
    link_message,
    messages,
    notices,
)

names = st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name)
indexes = st.integers(1, 0x7FFF_FFFF)
numbers = st.integers(1, 0xFFFF_FFFF)
ALL = frozenset(range(0x4000))
KERNELS = [
    new_link(7, b"eth0", b"enp0s3", b"lan"), new_address(7), message(RTM_DELLINK, link_body(7, b"x", kind=None)),
    message(RTM_DELADDR, address_body(7, 0x0A000001, 32, 0x0A000002)), message(NLMSG_DONE, bytes(4)), LINKS, ADDRESSES,
]  # fmt: skip


def view(data: bytes) -> memoryview:
    return memoryview(data)


# what the kernel says


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_a_datagram_is_its_messages_in_their_order(wanted):
    data = b"".join(message(kind, body, flags) for kind, flags, body in wanted)
    assert [(each.type, each.flags, bytes(each.body)) for each in messages(data)] == wanted


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8), st.sampled_from([0, 1 << 15]))
def test_attributes_are_what_they_are_nested_or_not(wanted, nested):
    data = b"".join(attribute(kind | nested, value) for kind, value in wanted)
    assert [(kind, bytes(value)) for kind, value in attributes(view(data), ALL)] == wanted
    assert all(kind == 7 for kind, _ in attributes(view(data), frozenset((7,))))


@given(indexes, names, st.lists(names, max_size=3), numbers, st.binary(max_size=32))
def test_a_link_is_read(index, name, alternatives, mtu, mac):
    read = link_message(view(link_body(index, name, *alternatives, mac=mac, mtu=mtu)))
    assert read == LinkMessage(index, 1, UP, name, tuple(alternatives), mac, mtu, b"veth")


def test_the_master_of_a_link_is_read():
    read = link_message(view(link_body(3, b"eth0", master=(9, b"bridge"))))
    assert (read.master, read.slave_kind, read.kind) == (9, b"bridge", b"veth")


def test_what_is_not_said_of_a_link_is_not_there():
    read = link_message(view(struct.pack("=BxHiII", 0, 772, 1, 0, 0)))
    assert read == LinkMessage(1, 772, 0, b"", (), b"", None, None)
    assert link_message(view(link_body(1, b"a", kind=None))).kind is None
    other_property = attribute(52, attribute(54, b"no name\0"))
    assert link_message(view(link_body(1, b"a") + other_property)).alternatives == ()


@given(indexes, numbers, st.integers(0, 32), st.none() | st.integers(0, 0xFFFF_FFFF))
def test_an_address_is_read(index, local, prefix, peer):
    read = address_message(view(address_body(index, local, prefix, peer)))
    assert read == AddressMessage(index, prefix, local, local if peer is None else peer)


def test_an_address_of_zeros_is_not_said():
    assert address_message(view(address_body(3, 0))) == AddressMessage(3, 24, 0, 0)


def test_notices_are_about_links_and_what_they_are_called():
    data = b"".join([new_link(7, b"x\xff"), new_address(8), message(RTM_DELLINK, link_body(9, b"y", b"lan", b"z")),
                     message(RTM_DELADDR, address_body(10, 1))])  # fmt: skip
    about = [(7, (b"x\xff",)), (8, ()), (9, (b"y", b"lan", b"z")), (10, ())]
    assert list(notices(data)) == [LinkNotice(*each) for each in about]


def test_the_end_of_a_dump_says_whether_it_was_given():
    done, refused = message(NLMSG_DONE, bytes(4)), message(NLMSG_ERROR, struct.pack("=i", -16) + bytes(16))
    assert [failure(each) for each in messages(done + refused)] == [0, 16]


@pytest.mark.parametrize(("request_", "kind"), [(LINKS, RTM_GETLINK), (ADDRESSES, RTM_GETADDR)])
def test_a_request_is_one_message_that_asks_for_all(request_, kind):
    (only,) = messages(request_)
    assert (only.type, only.flags) == (kind, NLM_F_REQUEST | NLM_F_DUMP)
    assert not only.flags & NLM_F_DUMP_INTR


# what nobody should say


def reads(data: bytes) -> Iterator[Callable[[], object]]:
    """All that may be done with octets."""
    whole = view(data)
    yield lambda: list(messages(data))
    yield lambda: list(notices(data))
    yield lambda: attributes(whole, ALL)
    yield lambda: link_message(whole)
    yield lambda: address_message(whole)
    yield lambda: failure(Message(NLMSG_ERROR, 0, whole))
    yield lambda: [read(each.body) for each in messages(data) for read in (link_message, address_message)]


def survive(data: bytes) -> None:
    for read in reads(data):
        with suppress(RtnetlinkError):
            read()


@given(st.binary(max_size=300))
def test_no_octets_do_harm(data):
    survive(data)


@given(st.lists(st.sampled_from(KERNELS), min_size=1, max_size=3), st.data())
def test_nor_do_messages_with_other_octets_in_places(parts, data):
    octets = bytearray(b"".join(parts))
    for at in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=4)):
        octets[at] = data.draw(st.sampled_from([0, 1, 3, 4, 15, 16, 127, 128, 255]))
    survive(bytes(octets[: data.draw(st.integers(0, len(octets)))]))


@given(st.binary(max_size=300))
def test_every_step_is_at_least_a_header(data):
    steps = 0
    with suppress(RtnetlinkError):
        for _ in messages(data):
            steps += 1
    assert 16 * steps <= len(data)


@pytest.mark.parametrize("data", [
    new_link(7, b"eth0")[:-4],                                      # cut off, as by a buffer that is too small
    struct.pack("=IHHII", 15, RTM_NEWLINK, 0, 0, 0),                # shorter than its header
    struct.pack("=IHHII", 0, RTM_NEWLINK, 0, 0, 0) * 3,
    struct.pack("=IHHII", 0xFFFF_FFFF, RTM_NEWLINK, 0, 0, 0),
    new_link(7, b"eth0") + bytes(3),
    message(RTM_NEWLINK, link_body(7, b"eth0") + struct.pack("=HH", 3, 1)),
    message(RTM_NEWLINK, link_body(7, b"eth0") + struct.pack("=HH", 9, 1)),
    message(RTM_NEWLINK, link_body(7, b"eth0") + attribute(4, b"mtu")),
    message(RTM_NEWLINK, bytes(15)),
    message(RTM_NEWADDR, bytes(7)),
    message(RTM_GETLINK, bytes(16)),                                # not told to anybody
])  # fmt: skip
def test_what_is_no_notification_is_refused(data):
    with pytest.raises(RtnetlinkError):
        list(notices(data))
