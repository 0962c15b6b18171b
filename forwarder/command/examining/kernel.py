"""What this kernel's packet sockets can, asked by opening those that an interface has, on the loopback link."""

import os

from forwarder.diagnosis.doctor.facts import KernelFacts
from forwarder.packet.packet_socket import PortError, open_igmp, open_receive_ring, open_transmit
from forwarder.packet.super_frames import release_takes, super_frames_taken
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3, RingLayout
from forwarder.process.privileges import CAP_NET_RAW, has_capability
from forwarder.state.ring_memory import LEAST
from forwarder.supervisor.refusals import remedied

HELPS = "; what helps: "


def facts(loopback: int) -> KernelFacts:
    """`loopback`: the ifindex of that link, 0 for none. Nothing leaves the machine, and nothing stays open."""
    release, uid = os.uname().release, os.geteuid()
    try:
        raw = has_capability(CAP_NET_RAW)
    except OSError:     # what confines us does not let us know
        raw = False
    if not (raw and loopback):
        return KernelFacts(release, uid, raw, release_takes(release), asked=False)
    words, _, helps = _refusal(loopback).partition(HELPS)
    return KernelFacts(release, uid, raw, super_frames_taken(), not words, words, helps)


def _refusal(loopback: int) -> str:
    """The first call that is refused, and why; empty where none is."""
    try:
        for version in (TPACKET_V3, TPACKET_V2):
            open_receive_ring(loopback, "lo", RingLayout(block_nr=LEAST, version=version), promiscuous=False).close()
        open_transmit(loopback, "lo").close()
        open_igmp(loopback, "lo", promiscuous=False).close()
    except PortError as error:
        return remedied(error.words, error.errno)
    return ""
