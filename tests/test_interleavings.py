"""Whatever comes between the portions of a batch: nothing is lost, doubled or out of order, and all counters agree."""

import struct
import time
from collections import Counter
from random import Random

from batches import Frame, address, ip_packet
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_rig import D1, D2, LAYOUT, UP, Rig, port

from forwarder.packet.tpacket import TP_STATUS_USER
from forwarder.state.settings import DataplaneSettings

S, G = address("192.168.0.9"), address("239.1.1.1")
PORTS = port(UP), port(D1), port(D2)


class Traffic:
    """Numbered datagrams of some flows into a rig, and what of them came out."""

    def __init__(self, world: Rig, flows: int) -> None:
        self.world, self.flows = world, flows
        self.next: Counter[int] = Counter()
        self.left: dict[int, list[tuple[int, int]]] = {D1: [], D2: []}
        self.expired = 0
        for flow in range(flows):
            world.join(D1, D2, group=G + flow)
            world.breathe()

    def offer(self, random: Random) -> None:
        """A few more, unless the ring is full; some have no TTL left."""
        kernel = self.world.links[UP].kernel
        if kernel.buffer[kernel.block * LAYOUT.block_size + 8] & TP_STATUS_USER:
            return
        frames = []
        for _ in range(random.randrange(1, 40)):
            flow, expired = random.randrange(self.flows), random.random() < 0.05
            payload = struct.pack("!II20x", flow, self.next[flow])
            frames.append(Frame(ip_packet(S, G + flow, payload, ttl=1 if expired else 9)))
            self.expired += expired
            self.next[flow] += not expired
        self.world.links[UP].fill(frames)

    def take(self) -> None:
        for index, numbers in self.left.items():
            numbers += [struct.unpack_from("!II", packet, 20) for packet in self.world.links[index].sent()]


@settings(max_examples=80)
@given(st.integers(0, 1 << 40))
def test_nothing_is_lost_doubled_or_out_of_order(seed):
    random = Random(seed)
    world = Rig(*PORTS, dataplane=DataplaneSettings(gather_ms=0.0)).run()
    worker, up = world.worker, world.worker._berths.attached[UP]

    def configure() -> None:
        world.configure(*PORTS)
        world.ring_bell()

    try:
        traffic = Traffic(world, random.randrange(2, 20))
        steps = [lambda: traffic.offer(random)] * 3 + [
            configure, lambda: worker._carry(up), lambda: worker._breathe(worker._poll.poll(0)),
            lambda: worker._beat(time.monotonic()), lambda: worker._spin(time.monotonic() + 1e-4),
        ]  # fmt: skip
        for _ in range(random.randrange(5, 60)):
            worker._pace.limit, worker._pace.reach = random.choice((1, 2, 5, 13, 30)), random.choice((1, 20, 60, 200))
            random.choice(steps)()
            traffic.take()
        while worker._carry(up):
            traffic.take()
        expected = {(flow, number) for flow, count in traffic.next.items() for number in range(count)}
        for index, numbers in traffic.left.items():
            assert sorted(numbers) == sorted(expected)
            assert [each for flow in range(20) for each in numbers if each[0] == flow] == sorted(expected)
            assert world.state.port(index).tx_packets == len(expected)
        received = world.state.port(UP)
        assert received.rx_packets == world.state.frames == len(expected) + traffic.expired
        assert sum(received.drops.values()) == received.drops.get("ttl_expired", 0) == traffic.expired
    finally:
        world.close()
