"""Offloads of network cards that save processor time (docs/performance.md). Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, InterfaceFacts
from forwarder.diagnosis.doctor.finding import NOTE, Finding, Kind, command

RECEIVE = Kind("receive offload", NOTE)
SEGMENTS = Kind("segmentation by the card", NOTE)

GRO, FORWARDING, UDP = "rx-gro", "rx-udp-gro-forwarding", "tx-udp-segmentation"
"""As the kernel calls them (net/ethtool/common.c); ethtool(8) also takes generic-receive-offload for the first."""

RECEIVING = ("", "veth", "tun")     # kinds of links that receive by themselves (NAPI): cards, and these


def findings(facts: Facts) -> Iterator[Finding]:
    """What could be switched on: joining where streams come in, segmenting where they leave."""
    for each in facts.interfaces:
        if each.role == "upstream":
            yield from _receive(each)
        else:
            yield from _segments(each)


def _receive(each: InterfaceFacts) -> Iterator[Finding]:
    """A virtual link has nothing to gain from it unless it joins frames already."""
    gro, forwarding = each.offloads.get(GRO), each.offloads.get(FORWARDING)
    if each.kind not in RECEIVING or gro is None or forwarding is None or (forwarding.active and gro.active):
        return
    if (gro.active or (not each.kind and gro.changeable)) and (forwarding.active or forwarding.changeable):
        missing = [word for name, offload in ((GRO, gro), (FORWARDING, forwarding)) if not offload.active
                   for word in (name, "on")]  # fmt: skip
        yield RECEIVE.mended(
            each.name, f"the kernel may join datagrams that {each.name} receives, which makes each of them cheaper for"
            " mcfwd",
            command("ethtool", "-K", each.name, *missing),
            "not where the kernel routes multicast or bridges by it: it drops or shows what is joined",
        )  # fmt: skip


def _segments(each: InterfaceFacts) -> Iterator[Finding]:
    udp = each.offloads.get(UDP)
    if udp is not None and udp.changeable and not udp.active:
        yield SEGMENTS.mended(
            each.name, f"{each.name} could segment UDP itself: now the kernel cuts what mcfwd sends there",
            command("ethtool", "-K", each.name, UDP, "on"),
        )  # fmt: skip
