"""Why a test may be skipped where every test counts: what the kernel or the machine lacks, and nothing else.

A missing program or module is no reason there: ./scripts/test installs what the tests need.
"""

import os
import re
from pathlib import Path

LACKS = {
    # start of the skip's reason: the feature it speaks of
    "no VLANs here": "CONFIG_VLAN_8021Q",
    "no ipip here": "CONFIG_NET_IPIP",
    "no gre here": "CONFIG_NET_IPGRE",
    "no memory control group can be made here": "CONFIG_MEMCG, or a control group that may be divided",
    "no tun device here": "CONFIG_TUN, or no /dev/net/tun",
    "no token bucket filter here": "CONFIG_NET_SCH_TBF",
    "no hierarchical token buckets here": "CONFIG_NET_SCH_HTB",
    "no IPv4 super-frames beyond 64 KiB here": "gso_ipv4_max_size, since Linux 6.3",
    "the kernel takes no UDP segmentation offload": "UDP_L4 in virtio_net_hdr, since Linux 6.2",
    "this machine lets ordinary users make no user namespaces": "kernel.unprivileged_userns_clone, AppArmor",
    "no Python of this version that any user may run": "a Python outside of root's home",
    "the agent waited": "processors that nobody else uses (STARVED in test_scenarios_limits.py)",
}
OF_ORDINARY_USERS = {
    # what root alone can do or install
    "becoming another user needs root": "CAP_SETUID over other users",
    "zebra and pimd run as the user frr": "CAP_SETUID over other users",
    ".* is not installed": "apt-get",
    ".* are not installed": "apt-get",
}


def is_root() -> bool:
    """Whether we are root of the machine, and not of a user namespace that knows no other user."""
    rows = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return os.geteuid() == 0 and sum(count for _, _, count in rows) > 1


def excuse(reason: str, root: bool) -> str | None:
    """The feature whose lack a skip's reason speaks of; None when a skip for that reason is a failure."""
    reason = reason.removeprefix("Skipped: ")
    known = LACKS if root else LACKS | OF_ORDINARY_USERS
    return next((feature for start, feature in known.items() if re.match(start, reason)), None)
