"""Packets longer than an egress takes: whole where they fit, in fragments where they may be, counted where not."""

import time
from collections.abc import Iterator

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for
from netns.frames import ROUTER_ALERT, Source, checksum
from netns.plant import NOISE, Plant, carried, counted, in_windows, new_lab, payloads, plant_of


@pytest.fixture(scope="module")
def jumbo(tmp_path_factory) -> Iterator[Plant]:
    """MTU 9000 on all links but those of receiver1 (1500) and receiver2 (600)."""
    with new_lab(3, mtu=9000) as lab:
        for number, mtu in ((1, 1500), (2, 600)):
            links.configure(lab.router, lab.downstreams[number], mtu=mtu)
            links.configure(lab.receivers[number], LINK, mtu=mtu)
        with plant_of(lab, tmp_path_factory.mktemp("jumbo")) as made:
            yield made


def test_jumbo_frames_pass_whole_where_they_fit_and_are_fragmented_where_they_do_not(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    sent = payloads([572, 573, 1472, 1473, 5000, 8971, 8972])  # ever longer: on the wire each is a frame of its own
    with Capture(jumbo.lab.receivers[0], protocol=UDP) as capture, Source(jumbo.lab.source) as source:
        source.send(group, *sent)
        assert [member.receive(len(sent)) for member in members] == [sent] * 3
        frames = wait_for(lambda: carried(capture, group, len(sent)), 5.0, "jumbo frames")
    assert [len(frame.packet) for frame in frames] == [len(payload) + 28 for payload in sent]


def test_too_long_for_an_egress_with_df_is_counted_there_and_passes_elsewhere(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    sent = payloads([8000, 1473, 1472, 573, 572])
    with counted(jumbo, "up0", 5, {("down1", "mtu"): 2, ("down2", "mtu"): 4}):
        with Source(jumbo.lab.source, dont_fragment=True) as source:
            source.send(group, *sent)
        received = [member.receive(count) for member, count in zip(members, (5, 3, 1), strict=True)]
    assert received == [sent, sent[2:], sent[4:]]
    assert [member.rest() for member in members] == [[], [], []]
    row = jumbo.flow(group)
    assert (row["verdict"], row["dropped"]) == ("forward", {"down1": {"mtu": 2}, "down2": {"mtu": 4}})
    assert row["hint"].startswith("longer than the MTU of down2 ")


def test_fragments_are_fragmented_again(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    sent = payloads([30_000, 65_507])
    with Source(jumbo.lab.source) as source:
        for payload in sent:
            source.send(group, payload)
            assert [member.receive(1) for member in members] == [[payload]] * 3


def test_options_are_kept_when_an_egress_fragments(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    with Capture(jumbo.lab.receivers[1], protocol=UDP) as capture:
        with Source(jumbo.lab.source, options=ROUTER_ALERT + b"\x01" * 4) as source:
            source.send(group, NOISE[:4000])
        assert [member.receive(1) for member in members] == [[NOISE[:4000]]] * 3
        frames = wait_for(lambda: carried(capture, group, 3), 5.0, "fragments")
    headers = [frame.packet[: (frame.packet[0] & 15) * 4] for frame in frames]
    assert [header[20:24] for header in headers] == [ROUTER_ALERT] * 3  # it has the copy bit, NOP has not
    assert {checksum(header) for header in headers} == {0}


def test_a_flow_stays_in_order_when_some_of_it_is_fragmented(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    sent = payloads([100, 3000, 200, 6000, 400, 500] * 40)
    with Source(jumbo.lab.source) as source:
        for window in in_windows(sent, 60):
            source.send(group, *window)
            assert [member.receive(60) for member in members] == [window] * 3


@pytest.mark.parametrize("size", [572, 1472, 4000])
def test_super_frames_reach_egresses_their_segments_are_too_long_for(jumbo, stack, size):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    sent = [NOISE[:20_001][at : at + size] for at in range(0, 20_001, size)]
    with Source(jumbo.lab.source, segment=size) as source:
        source.send(group, NOISE[:20_001])
    assert [member.receive(len(sent)) for member in members] == [sent] * 3
    assert [member.rest() for member in members] == [[], [], []]


def test_super_frames_with_df_are_counted_where_their_segments_are_too_long(jumbo, stack):
    group = jumbo.group()
    members = [jumbo.join(stack, number, group) for number in range(3)]
    with counted(jumbo, "up0", 3, {("down1", "mtu"): 3, ("down2", "mtu"): 3}):
        with Source(jumbo.lab.source, segment=4000, dont_fragment=True) as source:
            source.send(group, NOISE[:12_000])
        assert members[0].receive(3) == [NOISE[at : at + 4000] for at in (0, 4000, 8000)]
    assert [member.rest() for member in members] == [[], [], []]


SMALL = [f"down{number}" for number in range(1, 8)]
LOAD = {"rate": 7_000, "size": 8_872, "seconds": 6.0}
STREAM = {"rate": 2_000, "size": 1_316, "stream": 9, "seconds": 7.0}


@pytest.mark.slow
def test_fragmenting_for_many_ports_holds_up_nobody(tmp_path, stack):
    """7,000 datagrams a second of 8,900 octets for seven ports of MTU 1,500, beside a numbered stream to another."""
    lab = stack.enter_context(new_lab(8, mtu=9000))
    for number in range(1, 8):
        links.configure(lab.router, lab.downstreams[number], mtu=1500)
    mcfwd = stack.enter_context(plant_of(lab, tmp_path)).mcfwd
    long, other = "239.8.200.1", "239.8.200.2"
    mcfwd.request("POST", "/v1/routes", {"group": long, "interfaces": ["up0", *SMALL]})
    receiver = stack.enter_context(Receiver(lab.receivers[0], other, verify=True))
    mcfwd.wait_member("down0", other, 10.0)
    before = mcfwd.process_row("mcfwd-worker-0")
    stream = stack.enter_context(Sender(lab.source, other, **STREAM))
    load = stack.enter_context(Sender(lab.source, long, **LOAD))
    ages = list(heartbeats(mcfwd, LOAD["seconds"]))
    sent, offered = stream.wait(10.0).count, load.wait(10.0).count
    report = receiver.wait_received(sent, 10.0)
    assert [report.total(what) for what in ("received", "lost", "reordered", "altered")] == [sent, 0, 0, 0]
    assert max(ages) < 2.0
    assert mcfwd.process_row("mcfwd-worker-0")["pid"] == before["pid"]
    rows = [mcfwd.interface(name) for name in SMALL]
    assert all(row["tx_packets"] == 6 * (offered - row["drops"]["mtu"]) > 0 for row in rows)


def heartbeats(mcfwd: Mcfwd, seconds: float) -> Iterator[float]:
    """How old the worker's was, every tenth of a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield mcfwd.process_row("mcfwd-worker-0")["heartbeat"]
        time.sleep(0.1)
