"""The protocol's tables as rows: all of them, with every value under its name."""

from forwarder.agent.status import group_rows, host_rows, refusal_rows, upstream_rows
from igmp.filter import Mode
from igmp.outputs import GroupStatus, HostStatus, RefusalStatus, UpstreamStatus


def test_groups():
    status = GroupStatus(1, 2, Mode.EXCLUDE, ((3, 4.5), (5, None)), (6, 7), 2, 8.5, 9.5, 10, True)
    row = {
        "port": 1, "group": 2, "mode": "exclude", "sources": ((3, 4.5), (5, None)), "excluded_sources": (6, 7),
        "compatibility": 2, "expires": 8.5, "uptime": 9.5, "last_reporter": 10, "static": True,
    }  # fmt: skip
    assert list(group_rows([status, status])) == [row, row]


def test_hosts():
    row = {"port": 1, "group": 2, "host": 3, "mac": 4, "mode": "include", "sources": (5, 6), "expires": 7.5}
    status = HostStatus(1, 2, 3, 4, Mode.INCLUDE, (5, 6), 7.5)
    assert list(host_rows([status, status])) == [row, row]


def test_refused_joins():
    row = {
        "port": 1, "group": 2, "host": 3, "mac": 4, "mode": "exclude", "sources": (5, 6), "reason": "deny",
        "rule": "deny 239.1.0.0/16", "since": 7.5, "last": 0.5, "count": 8,
    }  # fmt: skip
    status = RefusalStatus(1, 2, 3, 4, Mode.EXCLUDE, (5, 6), "deny", "deny 239.1.0.0/16", 7.5, 0.5, 8)
    assert list(refusal_rows([status, status])) == [row, row]


def test_groups_upstream():
    row = {"port": 1, "group": 2, "mode": "include", "sources": (3, 4), "version": 3, "origins": (5, 6),
           "static": True}  # fmt: skip
    status = UpstreamStatus(1, 2, Mode.INCLUDE, (3, 4), 3, (5, 6), True)
    assert list(upstream_rows([status, status])) == [row, row]
