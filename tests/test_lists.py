"""Access lists over thousands of flows (forwarder.dataplane.lists)."""

import numpy as np
from hypothesis import given
from test_access_list import PAIRS, lists

from forwarder.dataplane.lists import admits, entries
from igmp.access import OPEN, AccessList, Rule

FLOWS = [(source, group) for source, group in PAIRS if source is not None]
SOURCES, GROUPS = np.array(FLOWS, np.uint64).T


@given(lists)
def test_of_many_is_said_what_is_said_of_each(access):
    assert admits(access, SOURCES, GROUPS).tolist() == [access.admits(*flow) for flow in FLOWS]
    assert entries(access) == len(access.allow) + len(access.deny) + len(access.ordered) + len(access.boundary)


def test_without_rules_all_may_pass():
    assert admits(OPEN, SOURCES, GROUPS).all()
    assert not admits(AccessList(ordered=(Rule.parse("deny 224.0.0.0/4"),)), SOURCES, GROUPS).any()
