"""Which ring is replaced when, what kind a port gets, and what is shown of it."""

import os
from collections.abc import Iterator

import pytest

from forwarder.api import views
from forwarder.packet.super_frames import release_takes
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.state import worker_segment
from forwarder.state.ports import Port
from forwarder.state.reasons import REASONS
from forwarder.state.settings import InterfaceSettings
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import DEAF, KIND, REPLACED, PortCounters, WorkerReader
from forwarder.supervisor.deafness import APART, DeafRings
from forwarder.supervisor.sockets import ring_version

RINGS = {(0, 0): 100, (0, 1): 101, (3, 0): 130, (3, 1): 131}  # by port index and worker


@pytest.fixture
def segments() -> Iterator[list[int]]:
    """Two workers'."""
    descriptors = [worker_segment.create(number, 8, 64) for number in range(2)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def due(rings: DeafRings, now: float) -> list[tuple[int, int]]:
    return rings.due(now, lambda index, worker: RINGS.get((index, worker)))


def test_a_deaf_ring_is_replaced_alone_and_each_port_has_its_own_pause(segments):
    first, second = (WorkerSegment(descriptor, writable=True).ports for descriptor in segments)
    rings = DeafRings(segments)
    assert due(rings, 0.0) == []
    first[3, DEAF] = 130
    assert due(rings, 1.0) == [(3, 0)]
    second[3, DEAF] = 131
    second[0, DEAF] = 101
    assert due(rings, 1.0 + APART / 2) == [(0, 1)]
    assert due(rings, 1.0 + APART) == [(3, 0), (3, 1)]


def test_what_is_said_of_a_former_ring_or_a_port_without_sockets_replaces_nothing(segments):
    rows = WorkerSegment(segments[0], writable=True).ports
    rows[3, DEAF], rows[5, DEAF] = 129, 150
    assert due(DeafRings(segments), 1.0) == []


@pytest.mark.parametrize(
    ("role", "profile", "slots"),
    [
        ("upstream", "balanced", False),
        ("upstream", "throughput", False),
        ("upstream", "latency", True),
        ("downstream", "balanced", True),
        ("downstream", "latency", True),
    ],
)
def test_a_port_gets_slots_or_blocks_and_blocks_where_super_frames_would_deafen_slots(role, profile, slots):
    assert ring_version(role, profile, super_frames=True) == (TPACKET_V2 if slots else TPACKET_V3)
    assert ring_version(role, profile, super_frames=False) == TPACKET_V3


def test_a_kernel_that_cannot_be_asked_is_judged_by_its_release():
    taken = ["6.2.0", "6.18.44-fc", "7.0-rc1", "10.1", "unheard of"]
    assert [release_takes(release) for release in taken] == [True] * 5
    assert [release_takes(release) for release in ("5.4.0-200-generic", "6.1.99", "4.18")] == [False] * 3


# --- what is shown ---


def row_of(role: str, ring: int | None, profile: str, segmentation: bool | None) -> tuple[str | None, str]:
    port = Port(index=0, assigned=1, name="x", role=role, settings=InterfaceSettings(name="x"), ifindex=2)
    counted = PortCounters(1, 0, 0, 0, 0, dict.fromkeys(REASONS, 0), ring)
    [row] = views.interfaces([port], {}, {0: counted}, segmentation, profile)
    return row["ring"], row["ring_reason"]


@pytest.mark.parametrize(
    ("role", "ring", "profile", "segmentation", "shown", "words"),
    [
        ("upstream", TPACKET_V3, "balanced", True, "blocks", "streams come in here"),
        ("downstream", TPACKET_V2, "balanced", True, "slots", "streams rarely come in here"),
        ("upstream", TPACKET_V2, "latency", True, "slots", "profile latency"),
        ("downstream", TPACKET_V3, "balanced", False, "blocks", "before 6.2"),
        ("upstream", TPACKET_V3, "latency", False, "blocks", "before 6.2"),
        ("upstream", TPACKET_V3, "latency", None, "blocks", "another role"),  # nobody could be asked yet
        ("downstream", TPACKET_V3, "balanced", True, "blocks", "another role"),
        ("upstream", TPACKET_V2, "balanced", False, "slots", "another role"),
        ("upstream", None, "balanced", True, None, "no ring"),
    ],
)
def test_interfaces_say_what_ring_they_have_and_why(role, ring, profile, segmentation, shown, words):
    said, why = row_of(role, ring, profile, segmentation)
    assert said == shown
    assert words in why


def test_replacements_of_all_workers_are_added_up(segments):
    for descriptor, count in zip(segments, (2, 3), strict=True):
        rows = WorkerSegment(descriptor, writable=True).ports
        rows[3, REPLACED], rows[3, KIND] = count, TPACKET_V2
    total = views.total([WorkerReader(descriptor).port(3) for descriptor in segments], 0)
    assert (total.ring, total.ring_replacements) == (TPACKET_V2, 5)
