"""A worker's loop, breath by breath: what it is lent, what it carries, and what it leaves to its successor."""

import math
import os
import resource
import select
import time
from dataclasses import replace

import pytest
from batches import Frame, address, ip_packet
from test_segmentation import datagram
from worker_rig import D1, D2, UP, Rig, port

from forwarder.dataplane.worker import BREATH, FD_SETSIZE, PAUSE, SPINS, _random_key
from forwarder.state.reasons import Reason
from forwarder.state.settings import DataplaneSettings
from forwarder.state.worker_segment import ASSIGNED, FIRST_REASON, HEARTBEAT, POSITION, RX_PACKETS, TX_PACKETS

G, S = address("239.1.1.1"), address("10.99.0.1")
DATA = Frame(ip_packet(S, G))
PORTS = port(UP), port(D1), port(D2)


@pytest.fixture
def rig():
    """Makes rigs and closes them at the end."""
    made: list[Rig] = []

    def make(*ports, **how) -> Rig:
        made.append(Rig(*(ports or PORTS), **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def sent(world: Rig) -> dict[int, int]:
    return {index: len(link.sent()) for index, link in world.links.items()}


def test_frames_go_where_they_are_wanted_and_are_counted(rig):
    world = rig().run()
    world.join(D1, group=G)
    world.links[UP].fill([DATA] * 3)
    world.breathe()
    assert sent(world) == {UP: 0, D1: 3, D2: 0}
    assert (world.state.batches, world.state.frames) == (1, 3)
    assert int(world.columns.ports[UP, RX_PACKETS]) == int(world.columns.ports[D1, TX_PACKETS]) == 3
    world.links[UP].fill([DATA] * 40)
    world.breathe()
    assert (world.state.batches, world.state.frames) == (2, 43)


def test_no_ring_is_read_before_all_ports_are_there(rig):
    world = rig()
    world.join(D1, group=G)
    world.lend(UP)
    world.links[UP].fill([DATA] * 2)
    world.breathe()
    assert (world.state.frames, world.answers()) == (0, [])
    world.lend(D1)
    world.complete()
    world.breathe()
    assert (sent(world), world.answers()) == ({UP: 0, D1: 2}, ["ready"])


def test_a_port_that_comes_later_is_read_too(rig):
    world = rig().run(UP, D1)
    world.lend(D2)
    world.breathe()
    world.join(UP, group=G)
    world.links[D2].fill([Frame(ip_packet(address("192.168.20.9"), G))])
    world.breathe()
    assert sent(world) == {UP: 1, D1: 0, D2: 0}


def test_news_of_routes_need_no_frame(rig):
    world = rig().run()
    world.join(D2, group=G)
    assert world.worker._decisions.routes.pending
    assert world.breathe() == 1
    assert not world.worker._decisions.routes.pending
    with pytest.raises(BlockingIOError):
        os.eventfd_read(world.descriptors["wake"])


def test_a_worker_ends_with_its_supervisor(rig):
    world = rig().run()
    world.supervisor.close()
    with pytest.raises(SystemExit) as end:
        world.breathe()
    assert end.value.code == 0


def test_a_life_begins_with_a_beat_and_ends_with_the_supervisor(rig):
    world = rig().run()
    world.supervisor.close()
    with pytest.raises(SystemExit):
        world.worker.run()
    assert int(world.columns.header[HEARTBEAT]) > 0


def test_without_frames_or_news_it_sleeps_until_the_next_beat(rig):
    worker = rig().run().worker
    began = time.monotonic()
    assert worker._await(began, began + 0.2) == []
    assert 0.15 < time.monotonic() - began < 5.0


def test_to_be_woken_for_nothing_does_no_harm(rig):
    world = rig().run()
    world.worker._instructed()
    world.worker._attend(9999, 1)
    assert world.answers() == ["ready"]


def test_a_successor_goes_on_where_the_ring_says_and_with_the_counters_it_finds(rig):
    world = rig().run()
    world.join(D1, group=G)
    for _ in range(5):      # more often than the ring has blocks
        world.links[UP].fill([DATA] * 2)
        world.breathe()
    world.links[UP].fill([DATA] * 3)        # nobody took these
    world.start()
    world.lend()
    world.complete()
    world.breathe()
    assert sent(world)[D1] == 13
    assert int(world.columns.ports[UP, RX_PACKETS]) == world.state.frames == 13
    assert len(world.worker._decisions.flows) == 1


def test_counters_of_a_port_index_start_over_with_a_new_owner_only(rig):
    world = rig().run()
    world.join(D1, group=G)
    world.links[UP].fill([DATA])
    world.breathe()
    world.configure(port(UP, mtu=9000), port(D1, assigned=2, ifindex=21), port(D2))
    world.ring_bell()
    world.breathe()
    assert [int(world.columns.ports[index, ASSIGNED]) for index in (UP, D1, D2)] == [1, 2, 1]
    assert (int(world.columns.ports[D1, TX_PACKETS]), int(world.columns.ports[UP, RX_PACKETS])) == (0, 1)
    assert world.worker._berths.attached[UP].port.mtu == 9000


def test_flows_of_a_port_index_are_not_those_of_a_new_owner(rig):
    """`show flows` and `why` took the stream of an interface that was gone for one that came in by another."""
    world = rig().run()
    world.links[UP].fill([DATA])
    world.breathe()
    flows = world.worker._decisions.flows
    world.configure(port(UP), port(D1, assigned=2, ifindex=21), port(D2))
    world.ring_bell()
    world.breathe()
    assert len(flows) == 1
    world.configure(port(UP, assigned=3, ifindex=77), port(D1, assigned=2, ifindex=21), port(D2))
    world.ring_bell()
    world.breathe()
    assert len(flows) == 0


def test_what_the_ring_of_a_port_that_goes_still_holds_is_carried(rig):
    world = rig().run()
    world.join(D1, group=G)
    world.breathe()
    world.links[UP].kernel.fill([DATA] * 7)     # the poll has not said so yet
    world.configure(port(D1), port(D2))
    world.ring_bell()
    world.breathe()
    assert sent(world)[D1] == 7
    assert sorted(world.worker._berths.attached) == [D1, D2]
    assert sorted(each.port.index for each in world.worker._berths.rings.values()) == [D1, D2]
    world.links[UP].fill([DATA])
    assert world.breathe() == 0


def test_descriptors_of_a_port_that_went_are_closed(rig):
    world = rig().run()
    before = len(os.listdir("/proc/self/fd"))
    world.configure(port(UP), port(D1))
    world.ring_bell()
    world.breathe()
    # copies of ring and transmit, and the one that keeps the map: no more than the supervisor needs for a port, which
    # has the same limit, or there would be ports that it lends and no worker could take
    assert before - len(os.listdir("/proc/self/fd")) == 3


def test_a_port_that_is_lent_anew_takes_the_place_of_the_former(rig):
    world = rig().run()
    world.join(D1, group=G)
    former = world.links.pop(D1)
    world.configure(port(UP), port(D1, ifindex=99), port(D2))
    world.lend(D1)
    world.ring_bell()
    world.breathe()
    world.links[UP].fill([DATA] * 2)
    world.breathe()
    assert (len(former.sent()), sent(world)[D1]) == (0, 2)
    former.close()


def test_what_is_lent_for_ports_not_yet_known_waits_for_them(rig):
    world = rig(port(UP), port(D1)).run()
    world.ports = (*world.ports, port(D2))
    world.generation += 1
    world.lend(D2)
    world.breathe()
    assert sorted(world.worker._berths.attached) == [UP, D1]
    world.generation -= 1
    world.configure(port(UP), port(D1), port(D2))
    world.ring_bell()
    world.breathe()
    assert sorted(world.worker._berths.attached) == [UP, D1, D2]


def test_a_beat_shows_life_and_the_place_in_the_ring(rig):
    world = rig().run()
    world.join(D1, group=G)
    world.links[UP].fill([DATA])
    world.breathe()
    before = time.monotonic()
    world.worker._beat(before)
    assert before <= world.state.heartbeat <= time.monotonic()
    assert int(world.columns.ports[UP, POSITION]) == 1
    assert world.state.gso is True      # a socket pair takes everything
    assert world.worker._transmitter.segments


def test_the_probe_goes_upstream_and_never_before_that_is_there(rig):
    world = rig().run(D1)
    world.worker._beat(1.0)
    assert (world.state.gso, sent(world)) == (None, {D1: 0})
    world.lend(UP)
    world.breathe()
    world.worker._beat(2.0)
    probes = sent(world)
    assert (world.state.gso, probes[UP] > 0, probes[D1]) == (True, True, 0)
    world.worker._beat(3.0)
    assert sent(world) == {UP: 0, D1: 0}


def test_segmentation_is_asked_for_as_soon_as_there_is_whom_to_ask(rig):
    world = rig()
    world.worker._next_beat = far = time.monotonic() + 100.0
    world.run(D1)
    assert world.worker._next_beat < time.monotonic() + 1.0
    world.worker._next_beat = far
    world.lend(UP)
    world.breathe()
    assert world.worker._next_beat < time.monotonic() + 1.0
    world.worker._beat(1.0)
    assert world.state.gso is True
    world.worker._next_beat = far
    world.lend(D2)
    world.breathe()
    assert world.worker._next_beat == far       # the answer is known


def test_idle_flows_end_with_a_beat(rig):
    world = rig().run()
    world.join(D1, group=G)
    world.links[UP].fill([DATA])
    world.breathe()
    world.worker._beat(time.monotonic() + 59.0)
    assert len(world.worker._decisions.flows) == 1
    world.worker._beat(time.monotonic() + 62.0)
    assert len(world.worker._decisions.flows) == 0


def test_a_ring_with_a_pending_error_is_read_all_the_same(rig):
    world = rig().run()
    world.links[UP].fill([DATA])
    ready = [(descriptor, events | select.POLLERR) for descriptor, events in world.worker._poll.poll(0)]
    world.worker._breathe(ready)
    assert world.state.frames == 1
    assert int(world.columns.ports[UP, FIRST_REASON + Reason.NO_MEMBERS - 1]) == 1


@pytest.mark.parametrize("profile", ["latency", "balanced", "throughput"])
def test_the_profile_is_that_of_the_configuration(rig, profile):
    world = rig(dataplane=DataplaneSettings(profile=profile))
    assert world.worker._pace.gather == {"latency": 0.0, "balanced": 0.002, "throughput": 0.005}[profile]
    world.dataplane = DataplaneSettings(profile=profile, gather_ms=7.0)
    world.configure(*PORTS)
    world.worker._configure()
    assert world.worker._pace.gather == 0.007


def test_under_load_the_next_batch_waits_until_it_is_due_and_ends_with_news(rig):
    world = rig(dataplane=DataplaneSettings(gather_ms=20.0)).run()
    pace = world.worker._pace
    now = time.monotonic()
    pace.took(10, now - 0.001)
    pace.took(1000, now)
    begun = time.monotonic()
    assert world.worker._await(now, now + 1.0) == []
    assert 0.005 < time.monotonic() - begun < 0.5
    pace.took(1000, time.monotonic())
    world.ring_bell()
    [(descriptor, _)] = world.worker._await(time.monotonic(), now + 1.0)
    assert descriptor == world.descriptors["wake"]


def test_descriptors_that_are_too_high_for_select_are_waited_for_all_the_same(rig):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(FD_SETSIZE)]
    try:
        world = rig(dataplane=DataplaneSettings(gather_ms=20.0)).run()
        now = time.monotonic()
        world.worker._pace.took(10, now - 0.001)
        world.worker._pace.took(1000, now)
        assert world.worker._await(now, now + 1.0) == []
        world.ring_bell()
        [(descriptor, _)] = world.worker._await(time.monotonic(), now + 1.0)
        assert descriptor == world.descriptors["wake"] >= FD_SETSIZE
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_who_had_no_turn_is_first_in_the_next_breath(rig):
    world = rig().run()
    news = world.worker._news[0]
    first, second, third = (world.worker._berths.attached[index].receiving() for index in (UP, D1, D2))
    ready = [(news, 1), (first, 1), (second, 1), (third, 1)]
    world.worker._next = second
    assert [each for each, _ in world.worker._in_turn(ready)] == [news, second, third, first]
    assert world.worker._in_turn(ready) == ready
    world.worker._next = news
    assert world.worker._in_turn(ready) == ready
    world.worker._next = 9999
    assert world.worker._in_turn(ready) == ready


def test_keys_of_the_index_are_odd_and_never_the_same():
    keys = [number for _ in range(20) for number in _random_key()]
    assert len(set(keys)) == 40
    assert all(number & 1 and number >> 64 == 0 for number in keys)
    assert max(keys).bit_length() > 60


def test_addresses_of_ports_that_changed_are_known_to_every_way(rig):
    """A frame of ours that comes back singly is recognised by the address that a port has now."""
    world = rig().run()
    world.join(D1, D2, group=G)
    moved = port(D1, mac="02:00:00:00:77:01")
    world.configure(port(UP), moved, port(D2))
    world.ring_bell()
    world.breathe()
    ours = replace(DATA, link=DATA.link[:6] + bytes.fromhex("020000007701") + b"\x08\x00")
    world.links[UP].fill([ours])
    world.breathe()
    assert [len(world.links[index].sent()) for index in (D1, D2)] == [0, 0]
    assert world.state.port(UP).drops["bad_source"] == 1


def test_a_ring_that_fills_as_fast_as_it_is_read_is_left_in_time(rig):
    """A port that is removed under load: what still comes in is counted, and nobody waits for its end."""
    world = rig().run()
    port_, kernel = world.worker._berths.attached[UP], world.links[UP].kernel
    release = port_.ring.release

    def refill() -> None:
        release()
        kernel.fill([DATA] * 20)

    kernel.fill([DATA] * 20)
    port_.ring.release = refill
    began = time.monotonic()
    world.worker._drain_until = time.thread_time() + BREATH
    world.worker._drain(port_)
    assert BREATH < time.monotonic() - began < 1.0
    assert world.state.port(UP).drops["ring_full"] == 20
    assert world.state.port(UP).rx_packets > 20
    port_.ring.release = release


def test_polling_busily_every_ring_has_its_turn_and_the_news_theirs(rig):
    """Two rings that are never empty: each call ends in time, and the next goes on with the other ring."""
    world = rig(dataplane=DataplaneSettings(busy_poll=True, gather_ms=0.0)).run()
    began, seen = time.monotonic(), []
    for index in (UP, D1):
        port_, kernel = world.worker._berths.attached[index], world.links[index].kernel
        kernel.fill([DATA] * 7)

        def refill(release=port_.ring.release, kernel=kernel, index=index) -> None:
            release()
            seen.append(index)
            kernel.fill([DATA] * 7)

        port_.ring.release = refill
    for _ in range(4):
        world.worker._spin(time.monotonic())
    assert seen == [UP, D1, UP, D1]
    world.worker._spin(time.monotonic() + 60.0)
    assert time.monotonic() - began < 5.0
    assert min(seen.count(UP), seen.count(D1)) > len(seen) // 2 - 2


def test_polling_busily_rings_are_looked_at_many_times_between_two_looks_at_the_news(rig):
    worker = rig(dataplane=DataplaneSettings(busy_poll=True, gather_ms=0.0)).run().worker
    looks, ring = [], worker._berths.attached[UP].ring
    ring.ready = lambda: bool(looks.append(1))
    worker._spin(time.monotonic() + 60.0)
    assert 1 < len(looks) <= SPINS
    looks.clear()
    worker._spin(time.monotonic())
    assert len(looks) == 1


def test_a_breath_begins_no_batch_when_its_time_is_over(rig):
    """Overload: the ring has more than a batch, and every batch takes as long as it may."""
    world = rig().run()
    world.join(D1, group=G)
    world.breathe()
    carried, real = [], world.worker._pipeline.carry

    def slow(ingress, limit, reach, few, now):
        carried.append(ingress.port.index)
        while time.monotonic() < now + 2 * BREATH:
            pass
        return real(ingress, limit, reach, few, now)

    world.worker._pipeline.carry = slow
    world.worker._pace.limit = 8
    seen = []
    for _ in range(7):      # all have something all the time
        for link in world.links.values():
            link.fill([DATA] * 6)
        carried.clear()
        world.worker._breathe(world.worker._poll.poll(0))
        seen.append(list(carried))
    assert seen == [[UP], [D1], [D2], [UP], [D1], [D2], [UP]]


def portioned(rig) -> Rig:
    """A worker that has lent 60 frames of as many flows, and has carried a third of them."""
    world = rig().run()
    world.join(D1, group=G)
    world.breathe()
    world.worker._pace.limit, world.worker._pace.reach = 20, 64
    world.links[UP].fill([Frame(ip_packet(S + number, G)) for number in range(60)])
    world.worker._carry(world.worker._berths.attached[UP])
    assert (sent(world)[D1], world.state.frames) == (20, 20)
    return world


def test_what_takes_several_breaths_leaves_news_and_other_rings_their_turn(rig):
    world = portioned(rig)
    world.join(D2, group=G)     # in D1's place, between two portions
    world.links[D2].fill([Frame(ip_packet(address("192.168.20.9"), G))])
    world.breathe()
    assert world.state.port(D2).rx_packets == 1
    while len(world.worker._berths.attached[UP].portions):
        world.breathe()
    counts = sent(world)
    assert (counts[D1], counts[D2]) == (0, 40)
    assert world.state.port(UP).rx_packets == 60
    assert not world.worker._berths.attached[UP].ring.ready()


def test_portions_wait_for_nothing(rig):
    """No more can be gathered into them: neither the distance of batches holds them up, nor a limit that has grown."""
    world = portioned(rig)
    worker, up = world.worker, world.worker._berths.attached[UP]
    worker._pace.gather, worker._pace._rate, worker._pace._began = 20.0, 1e6, time.monotonic()
    began = time.monotonic()
    assert worker._await(began, began + 60.0) == [(up.receiving(), select.POLLIN)]
    assert time.monotonic() - began < 10.0
    worker._pace.limit, worker._began = 1000, time.monotonic() + 60.0
    worker._attend(up.receiving(), select.POLLIN)
    assert not up.portions


def test_a_beat_between_two_portions_notes_where_a_successor_begins(rig):
    """It repeats what was carried of the batch, and misses nothing."""
    world = portioned(rig)
    world.worker._beat(time.monotonic())
    assert int(world.columns.ports[UP, POSITION]) == 0
    world.start()
    world.lend()
    world.complete()
    world.breathe()
    assert sent(world)[D1] == 60


def test_what_is_left_in_portions_of_a_port_that_goes_is_carried_or_counted(rig):
    """All of it while there is time, none of it when there is not; how much of both depends on the machine."""
    def left(until: float) -> tuple[int, int]:
        world = portioned(rig)
        world.links[UP].kernel.fill([DATA] * 7)
        world.worker._drain_until = until
        world.worker._drain(world.worker._berths.attached[UP])
        return sent(world)[D1], world.state.port(UP).drops["ring_full"]

    assert (left(math.inf), left(0.0)) == ((47, 0), (0, 47))
    world = portioned(rig)
    world.links[UP].kernel.fill([DATA] * 7)
    world.configure(port(D1), port(D2))
    world.ring_bell()
    world.breathe()
    assert sent(world)[D1] + world.state.port(UP).drops["ring_full"] == 47


def test_ports_that_are_let_go_together_are_read_out_in_the_time_of_one(rig):
    world = rig().run()
    waited, real = [], world.worker._pipeline.carry

    def slow(ingress, limit, reach, few, now):
        waited.append(ingress.port.index)
        while time.monotonic() < now + 2 * BREATH:
            pass
        return real(ingress, limit, reach, few, now)

    world.worker._pipeline.carry = slow
    for link in world.links.values():
        link.kernel.fill([DATA] * 5)
    world.configure()
    world.ring_bell()
    world.worker._breathe(world.worker._poll.poll(0))
    assert len(waited) == 1
    assert sum(world.state.port(index).drops["ring_full"] for index in (UP, D1, D2)) == 10


def test_what_the_former_owner_of_an_index_leaves_is_not_counted_for_the_next(rig):
    world = rig().run()
    world.links[D1].kernel.fill([DATA] * 40)
    world.configure(port(UP), replace(port(D1, assigned=2, ifindex=77), name="another"), port(D2))
    world.ring_bell()
    world.breathe()
    assert world.state.port(D1).assigned == 2
    assert world.state.port(D1).rx_packets == 0
    assert not any(world.state.port(D1).drops.values())


# --- what a steady stream remembers, when something changes between its batches ---


STREAM = [datagram(number, 400, flow=(S, G), fragment=0x4000) for number in range(12)]
MOVED = "02:00:00:00:77:01"


def messages(world: Rig, index: int) -> list[bytes]:
    """What was sent to a port: vnet header, Ethernet header, packet."""
    found = []
    while True:
        try:
            found.append(world.links[index].wire.recv(70_000))
        except BlockingIOError:
            return found


def streaming(make, *ports, **how) -> Rig:
    """A worker that has carried two batches of STREAM from UP to D1 and D2 as super-datagrams."""
    world = make(*ports, **how).run()
    world.worker._beat(time.monotonic())
    for index in world.links:
        messages(world, index)
    world.join(D1, D2, group=G)
    world.breathe()
    for _ in range(2):
        assert [len(batch) for batch in carried(world)] == [1, 1]
    assert list(world.worker._pipeline._steady._streams) == [UP]
    return world


def carried(world: Rig) -> list[list[bytes]]:
    """One batch more of STREAM: the messages to D1 and D2."""
    world.links[UP].fill(STREAM)
    world.breathe()
    return [messages(world, index) for index in (D1, D2)]


def configured(world: Rig, *ports) -> None:
    world.configure(*ports)
    world.ring_bell()
    world.breathe()


def hops(batches: list[list[bytes]]) -> list[set[bytes]]:
    """The source addresses of messages."""
    return [{message[16:22] for message in batch} for batch in batches]


def test_a_stream_leaves_with_the_address_that_its_port_has_now(rig):
    world = streaming(rig)
    configured(world, port(UP), port(D1, mac=MOVED), port(D2))
    assert hops(carried(world)) == [{bytes.fromhex(MOVED.replace(":", ""))}, {bytes.fromhex("020000000002")}]


def test_a_stream_is_not_sent_where_it_no_longer_fits(rig):
    world = streaming(rig)
    configured(world, port(UP), port(D1, mtu=427), port(D2))
    one, two = carried(world)
    assert (len(one), sum(len(message) - 52 for message in two)) == (0, 12 * 400)
    assert world.state.port(D1).drops["mtu"] == 12
    configured(world, port(UP), port(D1), port(D2))
    assert [len(batch) for batch in carried(world)] == [1, 1]


@pytest.mark.parametrize("index", [UP, D1])
def test_a_stream_obeys_a_threshold_that_comes_between_two_batches(rig, index):
    world = streaming(rig)
    ports = [port(each) for each in (UP, D1, D2)]
    strict = replace(ports[index], settings=replace(ports[index].settings, threshold=255))
    configured(world, *[strict if each.index == index else each for each in ports])
    assert [bool(batch) for batch in carried(world)] == ([False, False] if index == UP else [False, True])
    configured(world, *ports)
    assert [len(batch) for batch in carried(world)] == [1, 1]


def test_a_stream_goes_on_in_the_ring_that_takes_the_place_of_the_former(rig):
    world = streaming(rig)
    former = world.links.pop(UP)
    former.fill(STREAM)  # not read yet
    world.lend(UP)
    world.breathe()
    assert [len(messages(world, index)) for index in (D1, D2)] == [1, 1]
    former.close()
    assert [len(batch) for batch in carried(world)] == [1, 1]


def test_a_stream_is_sent_on_the_socket_that_takes_the_place_of_the_former(rig):
    world = streaming(rig)
    former = world.links.pop(D1)
    world.lend(D1)
    world.breathe()
    assert [len(batch) for batch in carried(world)] == [1, 1]
    with pytest.raises(BlockingIOError):
        former.wire.recv(70_000)
    former.close()


def test_a_stream_goes_no_longer_to_a_port_that_went_nor_to_who_has_its_number(rig):
    world = streaming(rig)
    former = world.links.pop(D1)
    configured(world, port(UP), port(D2))
    other = port(D1, assigned=3, ifindex=77, mac=MOVED)
    world.links[UP].fill(STREAM)
    world.breathe()
    assert len(messages(world, D2)) == 1
    former.close()
    configured(world, port(UP), other, port(D2))
    world.lend(D1)
    world.breathe()
    assert [len(batch) for batch in carried(world)] == [0, 1]
    world.join(D1, D2, group=G)
    world.breathe()
    assert [len(batch) for batch in carried(world)] == [1, 1]


def test_messages_that_stand_ready_are_laid_out_anew_for_other_segments_and_bursts(rig):
    world = streaming(rig)
    pipeline, transmitter = world.worker._pipeline, world.worker._transmitter
    for segments, burst, pause, expected in ((5, 64, None, 3), (64, 4, lambda: True, 3), (64, 4, None, 1),
                                             (64, 5, lambda: False, 3), (128, 64, None, 1)):  # fmt: skip
        pipeline.use_segments(segments)
        world.links[UP].fill(STREAM)
        transmitter.burst, transmitter.pause = burst, pause
        world.worker._carry(world.worker._berths.attached[UP])
        both = [messages(world, index) for index in (D1, D2)]
        assert [len(batch) for batch in both] == [expected, expected]
        assert [sum(len(message) - 52 for message in batch) for batch in both] == [12 * 400] * 2
        assert all(int.from_bytes(message[26:28], "big") == len(message) - 24 for batch in both for message in batch)


def test_bursts_have_pauses_where_the_last_breath_left_time_for_them(rig):
    """Not where it took all there was, with a processor of its own or without: others may have that."""
    worker = rig().run().worker
    select.select((), (), (), 0.02)
    worker._breathe([])
    assert worker._transmitter.pause is not None
    select.select((), (), (), 0.02)
    worker._spent = 1.0
    worker._breathe([])
    assert worker._transmitter.pause is None


def test_a_pause_is_as_long_as_there_is_time_and_is_no_work(rig):
    worker = rig().run().worker
    worker._began, worker._pace.gather = time.monotonic(), 60.0
    assert worker._pause()
    assert worker._paused == PAUSE
    worker._pace.gather = 0.0
    assert not worker._pause()
    assert worker._paused == PAUSE
