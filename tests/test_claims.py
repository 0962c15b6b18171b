"""What another instance serves too."""

import os
import resource

import pytest

from forwarder.supervisor.claims import MOST, Claims

FIRST, SECOND, THIRD = 4_000_001, 4_000_002, 4_000_003   # no interfaces of this machine


def test_what_another_holds_is_told_until_it_is_let_go():
    one, other = Claims(), Claims()
    assert one.hold({FIRST, SECOND}) == one.hold({FIRST, SECOND}) == frozenset()
    assert other.hold({SECOND, THIRD}) == {SECOND}
    one.hold({FIRST})
    assert other.hold({SECOND, THIRD}) == frozenset()
    assert one.hold({FIRST, THIRD}) == {THIRD}
    other.close()
    assert one.hold({FIRST, THIRD}) == frozenset()
    one.close()


@pytest.mark.parametrize("limit", [3, 16])
def test_with_few_descriptors_nobody_is_suspected_and_none_is_taken(limit):
    one, other = Claims(), Claims()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        assert one.hold({FIRST}) == other.hold({FIRST}) == frozenset()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir("/proc/self/fd") == before


def test_of_thousands_some_are_claimed():
    one, other = Claims(), Claims()
    interfaces = range(FIRST, FIRST + 2000)
    assert one.hold(interfaces) == frozenset()
    assert other.hold(interfaces) == set(interfaces[:MOST])
    one.close()
