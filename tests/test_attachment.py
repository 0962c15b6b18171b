"""A port as a worker holds it, over a socket pair and memory in place of a packet socket and its ring."""

import mmap
import os
import socket
import struct

import numpy as np
import pytest
from batches import Frame, ip_packet
from rings import Kernel
from worker_rig import D1, LAYOUT, UP, port

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.ring import ReceiveRing
from forwarder.dataplane.slot_ring import SlotRing
from forwarder.dataplane.transmit import Sent
from forwarder.packet.tpacket import (
    ARPHRD_NONE,
    NET_V2,
    TP_STATUS_COPY,
    TP_STATUS_USER,
    TPACKET_V2,
    RingLayout,
)
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import BLOCK, FIRST_REASON, POSITION, TX_BYTES, TX_PACKETS

SLOTS = RingLayout(block_size=16384, block_nr=2, version=TPACKET_V2)


@pytest.fixture
def attach():
    """Makes attachments over a memory: `attach(port, layout, memory, counters)`; `attach.far` are the other ends."""
    ends: list[socket.socket] = []
    made: list[Attachment] = []

    def make(owner, layout=LAYOUT, memory=None, counters=None) -> Attachment:
        memory = memory or mmap.mmap(-1, layout.size)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        for near, far in pairs:
            near.setblocking(False)
            ends.extend((near, far))
        make.far = [far for _, far in pairs]
        counters = np.zeros(BLOCK, np.uint64) if counters is None else counters
        made.append(Attachment(owner, layout, pairs[0][0].fileno(), pairs[1][0].fileno(), counters, lambda *_: memory))
        return made[-1]

    yield make
    for end in ends:
        end.close()


def test_descriptors_are_copies(attach):
    before = set(os.listdir("/proc/self/fd"))
    mine = attach(port(D1))
    attach.far[0].send(b"in")
    assert socket.socket(fileno=os.dup(mine.receiving())).recv(9) == b"in"
    os.write(mine.sending(), b"out")
    assert attach.far[1].recv(9) == b"out"
    mine.close()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 4     # the pairs, which are the caller's


def test_the_version_of_the_ring_is_that_of_its_layout(attach):
    assert type(attach(port(D1)).ring) is ReceiveRing
    assert type(attach(port(D1), SLOTS).ring) is SlotRing


def test_it_reads_on_where_its_predecessor_was(attach):
    for layout, position, expected in ((LAYOUT, 3, 3), (SLOTS, 3, 3), (LAYOUT, LAYOUT.block_nr + 1, 1)):
        counters = np.zeros(BLOCK, np.uint64)
        first = attach(port(D1), layout, counters=counters)
        counters[POSITION] = position
        memory = mmap.mmap(-1, layout.size)
        descriptors = first.receiving(), first.sending()
        again = Attachment(first.port, layout, *descriptors, counters, lambda *_, memory=memory: memory)
        assert again.ring.position == expected


def test_what_is_noted_of_another_ring_does_not_count(attach):
    counters = np.zeros(BLOCK, np.uint64)
    counters[POSITION] = 3
    assert attach(port(D1), counters=counters).ring.position == 0
    assert counters[POSITION] == 0


def test_a_beat_notes_where_it_is(attach):
    kernel, counters = Kernel(LAYOUT), np.zeros(BLOCK, np.uint64)
    memory = mmap.mmap(-1, LAYOUT.size)
    kernel.buffer = memory
    mine = attach(port(D1), memory=memory, counters=counters)
    kernel.fill([Frame(ip_packet())])
    assert mine.ring.look() == 1
    mine.ring.release()
    mine.beat()
    assert counters[POSITION] == 1
    assert not counters[FIRST_REASON:].any()    # a socket pair has no statistics


def test_a_frame_longer_than_its_slot_is_taken_from_the_socket(attach):
    packet = ip_packet(payload=bytes(range(256)) * 12)
    frame = Frame(packet).link + packet
    memory, mac = mmap.mmap(-1, SLOTS.size), NET_V2 - 14
    fields = (TP_STATUS_USER | TP_STATUS_COPY, len(frame), 2048 - mac, mac, NET_V2, 7, 1)
    struct.pack_into("=3I2H2I", memory, 0, *fields)
    memory[mac:2048] = frame[: 2048 - mac]
    mine = attach(port(D1), SLOTS, memory)
    attach.far[0].send(bytes(10) + frame)
    assert mine.ring.look() == 1
    batch = mine.ring.batch()
    start = int(batch.mac[0])
    assert batch.buffer[start : start + len(frame)].tobytes() == frame
    assert (batch.snaplen.tolist(), batch.length.tolist()) == ([len(frame)], [len(frame)])
    mine.ring.release()
    struct.pack_into("=3I2H2I", memory, 2048, *fields[:-1], 2)
    assert mine.ring.look() == 1
    batch = mine.ring.batch()     # nothing is queued
    assert batch.snaplen[0] < batch.length[0] == len(frame)


def test_what_is_counted(attach):
    mine = attach(port(D1))
    mine.count(Reason.MTU)
    mine.count(Reason.MTU, 4)
    mine.count(Reason.MALFORMED, 2)
    mine.count_sent(Sent(3, 400, 0, 0))
    mine.count_sent(Sent(1, 50, 6, 105))
    drops = {Reason(at + 1): int(count) for at, count in enumerate(mine.counters[FIRST_REASON:]) if count}
    assert drops == {Reason.MTU: 5, Reason.MALFORMED: 2, Reason.TRANSMIT_FAILED: 6}
    assert (int(mine.counters[TX_PACKETS]), int(mine.counters[TX_BYTES])) == (4, 450)


def test_what_may_change_while_a_port_stays(attach):
    mine = attach(port(UP))
    assert (mine.link_header, mine.mac) == (14, bytes.fromhex("020000000000"))
    mine.refresh(port(UP, mac="02:00:00:00:00:99", mtu=9000))
    assert (mine.mac, mine.port.mtu) == (bytes.fromhex("020000000099"), 9000)
    bare = attach(port(UP, link_type=ARPHRD_NONE))
    assert (bare.link_header, bare.mac) == (0, bytes(6))


def test_the_error_of_a_link_is_read_once(attach, caplog):
    caplog.set_level("INFO")
    mine = attach(port(D1))
    mine.settle_error()
    assert caplog.records == []
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.bind(("127.0.0.1", 0))
    sender.connect(receiver.getsockname())
    receiver.close()
    sender.send(b"to nobody")
    os.dup2(sender.fileno(), mine.receiving())
    mine.settle_error()
    mine.settle_error()
    assert [record.getMessage() for record in caplog.records] == ["port1: Connection refused"]
    sender.close()


def test_a_ring_that_is_still_referred_to_is_said_so_and_the_rest_is_closed(attach, caplog):
    mine = attach(port(D1))
    view = memoryview(mine._memory)
    mine.close()
    assert "port1: its ring is still referred to" in caplog.text
    assert mine.receiving() == mine.sending() == -1
    view.release()
