"""What the kernel has besides routing that copies a frame to several links: a bridge, tc's mirred, nft's dup.

None of them routes: frames leave with the TTL and source address with which they came. The bridge with snooping sends a
group where its reports came from; the others know nothing of IGMP and copy to every link.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.contestants.base import Program, missing
from bench.peers import daemon, snooping
from forwarder.lab import links
from forwarder.lab.topology import Lab

ACTIONS = 32  # of one filter: TCA_ACT_MAX_PRIO
QUERY_RESPONSE = 100  # hundredths of a second: a new querier floods that long before it trusts what it has heard
SNOOPING = {
    "mcast_querier": 1,
    "mcast_igmp_version": 3,  # as the receivers speak: with version 2 they report late and leave late
    "mcast_query_response_interval": QUERY_RESPONSE,
    "mcast_hash_max": 65536,
}


@dataclass(frozen=True)
class Bridge:
    """All links of the router as ports of one bridge."""

    name: str = "bridge"
    snooping: bool = True
    exclusive: bool = False

    @property
    def speaks_igmp(self) -> bool:
        """It listens."""
        return self.snooping

    def obstacle(self, ports: int, groups: int) -> str:
        """iproute2 configures it."""
        return missing("ip", "iproute2") if self.snooping else ""

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """With a querier of its own where it snoops, and past the time in which it floods for want of reports."""
        links.bridge(lab.router, "br0", [lab.upstream, *lab.downstreams], snooping=self.snooping)
        if self.snooping:
            snooping.Bridge(lab.router).configure(**SNOOPING)
            time.sleep(QUERY_RESPONSE / 100 + 0.2)
        yield Program()


@dataclass(frozen=True)
class Mirred:
    """A filter at the upstream link's ingress with an action mirred for every port."""

    name: str = "mirred"
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """tc sets the filter."""
        if ports > ACTIONS:
            return f"a filter of tc has {ACTIONS} actions at most"
        return missing("tc", "iproute2")

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """The last port gets the frame itself instead of a copy."""
        tc = partial(lab.router.command, daemon.program("tc") or "tc")
        words = ["action mirred egress mirror dev " + name for name in lab.downstreams[:-1]]
        words.append("action mirred egress redirect dev " + lab.downstreams[-1])
        tc("qdisc", "add", "dev", lab.upstream, "clsact")
        match = f"filter add dev {lab.upstream} ingress protocol ip u32 match ip dst 224.0.0.0/4 "
        tc(*(match + " ".join(words)).split())
        yield Program()


@dataclass(frozen=True)
class Nft:
    """A rule in a netdev chain that duplicates to every port."""

    name: str = "nft"
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """nft sets the rule."""
        return missing("nft", "nftables")

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """The last port gets the frame itself instead of a copy."""
        words = [f'dup to "{name}"' for name in lab.downstreams[:-1]] + [f'fwd to "{lab.downstreams[-1]}"']
        chain = f'type filter hook ingress device "{lab.upstream}" priority 0;'
        rule = f"ip daddr 224.0.0.0/4 {' '.join(words)};"
        nft = daemon.program("nft") or "nft"
        lab.router.command(nft, f"table netdev copies {{ chain ports {{ {chain} {rule} }}; }}")
        yield Program()
