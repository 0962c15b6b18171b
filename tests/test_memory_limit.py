"""Limits of memory as the files of control groups say them."""

from pathlib import Path

import pytest
from control_groups import MIB, first, second

from forwarder.supervisor.memory_limit import MemoryLimit, groups

MOUNT_1 = "35 31 0:32 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,memory\n"
MOUNT_2 = "41 31 0:38 {root} {mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


def process(folder: Path, cgroup: str, mountinfo: str) -> Path:
    """A directory like /proc/PID."""
    folder.mkdir()
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(OTHERS + mountinfo)
    return folder


def test_all_groups_above_count_of_version_2(tmp_path):
    mount = tmp_path / "mounted"
    for name, limit in (("a", "max"), ("a/b", str(200 * MIB)), ("a/b/c", str(300 * MIB))):
        second(mount / name, limit, usage=50 * MIB)
    found = groups(process(tmp_path / "self", "0::/a/b/c\n", MOUNT_2.format(root="/", mount=mount)))
    assert [group.directory for group in found] == [mount / "a/b/c", mount / "a/b", mount / "a"]   # the root has none
    limit = MemoryLimit(found)
    assert (limit.smallest, limit.room) == (200 * MIB, 150 * MIB)


def test_a_hybrid_of_both_is_version_1_where_that_has_memory(tmp_path):
    mount = tmp_path / "memory"
    first(mount, 1 << 63)
    first(mount / "x/y", 128 * MIB, usage=100 * MIB, file=8 * MIB)
    lines = "4:memory:/x/y\n3:cpuset:/\n1:name=systemd:/z\n0::/z\n"
    mounts = MOUNT_2.format(root="/", mount=tmp_path / "unified") + MOUNT_1.format(root="/", mount=mount)
    found = groups(process(tmp_path / "self", lines, mounts))
    assert [(group.version, group.directory) for group in found] == [(1, mount / "x/y"), (1, mount)]
    assert (MemoryLimit(found).smallest, MemoryLimit(found).room) == (128 * MIB, 36 * MIB)


def test_a_container_sees_its_group_as_the_root_of_what_is_mounted(tmp_path):
    mount = tmp_path / "memory"
    first(mount / "sub", 64 * MIB)
    first(mount, 99 * MIB)
    mounts = MOUNT_1.format(root="/docker/1234", mount=mount)
    found = groups(process(tmp_path / "self", "4:memory,hugetlb:/docker/1234/sub\n", mounts))
    assert [group.limit for group in found] == [64 * MIB, 99 * MIB]


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"),
    [
        ("", ""), ("0::/a\n", ""), ("0::/../a\n", MOUNT_2.format(root="/b", mount="/nowhere")),
        ("x\n:::\n", "\n - \na - b"),
    ],
)
def test_where_nothing_can_be_read_there_is_no_limit(tmp_path, cgroup, mountinfo):
    limit = MemoryLimit(groups(process(tmp_path / "self", cgroup, mountinfo)))
    assert (limit.smallest, limit.room, limit.has_killed()) == (None, None, False)
    assert groups(tmp_path / "gone") == []


@pytest.mark.parametrize("text", ["max", "", "nonsense", str((1 << 63) - 4096)])
def test_no_limit_is_none(tmp_path, text):
    group = second(tmp_path / "a", text, usage=5)
    assert (group.limit, group.room) == (None, None)


@pytest.mark.parametrize("make", [first, second])
def test_kills_are_told_once(tmp_path, make):
    own, above = make(tmp_path / "a/b", 128 * MIB), make(tmp_path / "a", 128 * MIB, kills=5)
    limit = MemoryLimit([own, above])
    assert not limit.has_killed()
    make(tmp_path / "a/b", 128 * MIB, kills=1)
    assert limit.has_killed()
    assert not limit.has_killed()
