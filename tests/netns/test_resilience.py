"""Processes that are killed, frozen or keep crashing: the stream, the memberships and the upstream do not notice.

The machine itself may stop a worker for longer than its ring lasts; the kernel then says so (`ring_full`). Such an
attempt is made again, and in the end every datagram that was sent must have arrived or been counted as refused.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture, Frame
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import SOURCE, UPSTREAM, downstream_network
from forwarder.lab.wait import wait_for
from netns.scenarios import Neighbour, query_message

GROUP, OTHER, CHANNEL = "239.1.1.1", "239.1.1.2", "232.1.1.1"
AGENT, API, WORKER, SPARE = "mcfwd-agent", "mcfwd-api", "mcfwd-worker-0", "mcfwd-worker-sp"  # comm has 15 octets
RATE = 20_000
BATCH = 2048  # frames of one flow that a killed worker may have sent without saying so
SOON = 20.0  # seconds in which all must have settled on a busy machine
FREEZE = 5.0  # seconds
ATTEMPTS = 3
V2_LEAVE, V3_REPORT, TO_INCLUDE, BLOCK = 0x17, 0x22, 3, 6


class Flowing:
    """A stream of 20,000 datagrams of 1316 octets a second to four receivers through mcfwd."""

    def __init__(self, lab, mcfwd: Mcfwd, stack: ExitStack) -> None:
        self.lab, self.mcfwd = lab, mcfwd
        self.upstream = stack.enter_context(Capture(lab.source))
        self.receivers = [stack.enter_context(Receiver(each, GROUP, timestamps=False)) for each in lab.receivers]
        for port in lab.downstreams:
            mcfwd.wait_member(port, GROUP, SOON)
        self.sender = stack.enter_context(Sender(lab.source, GROUP, rate=RATE))
        self.carry(RATE // 2)
        mcfwd.wait_for(lambda _: SPARE in mcfwd.children().values(), SOON, "the spare worker")

    def carry(self, count: int) -> None:
        """Returns when `count` datagrams more have reached every receiver."""
        wanted = [receiver.report().total("received") + count for receiver in self.receivers]
        for receiver, total in zip(self.receivers, wanted, strict=True):
            receiver.wait_received(total, SOON)

    def refused(self) -> int:
        """Frames that the upstream ring had no room for, up to date; it may be a while until receivers see the gap."""
        beat = self.mcfwd.process_row(WORKER)["uptime"]
        self.mcfwd.wait_for(lambda _: self._has_beaten_after(beat), SOON, "a heartbeat")
        return self.mcfwd.interface("up0")["drops"]["ring_full"]

    def _has_beaten_after(self, uptime: float) -> bool:
        row = self.mcfwd.process_row(WORKER)
        return row is not None and row["uptime"] - row["heartbeat"] > uptime

    def counted(self, what: str) -> list[int]:
        return [receiver.report().total(what) for receiver in self.receivers]

    def groups(self) -> list[tuple[str, ...]]:
        return memberships(self.mcfwd)

    def withdrawals(self) -> list[Frame]:
        return self.upstream.select(lambda frame: frame.source == UPSTREAM and withdraws(frame))

    def undisturbed(self, disturb: Callable[[], None]) -> None:
        """`disturb` costs no datagram, no membership and nothing upstream."""
        before = self.groups()
        for _ in range(ATTEMPTS):
            if self.is_free_of_loss(disturb):
                break
        else:
            pytest.fail(f"the machine stopped the worker in each of {ATTEMPTS} attempts")
        assert self.groups() == before
        assert self.withdrawals() == []

    def is_free_of_loss(self, disturb: Callable[[], None]) -> bool:
        """Whether the ring refused nothing meanwhile; no receiver may have lost anything then."""
        refused = self.refused()
        if refused:
            self.carry(RATE)  # the gap of what was refused before has passed by now
        lost = self.counted("lost")
        disturb()
        self.carry(RATE // 2)
        now_lost = self.counted("lost")
        if self.refused() != refused:
            return False
        assert now_lost == lost
        return True

    def assert_nothing_is_unaccounted_for(self) -> None:
        """Ends the stream: what was sent has arrived, or was counted where it was refused."""
        sent = self.sender.stop().count
        self.receivers[0].settle(1.0, SOON)
        refused = self.refused()
        for receiver, port in zip(self.receivers, self.lab.downstreams, strict=True):
            report = receiver.settle(timeout=SOON)
            failed = self.mcfwd.interface(port)["drops"]["transmit_failed"] + report.socket_drops
            assert report.total("received") + refused + failed == sent


def memberships(mcfwd: Mcfwd) -> list[tuple[str, ...]]:
    def row(group) -> tuple[str, ...]:
        sources = sorted(source["address"] for source in group["sources"])
        return group["interface"], group["group"], group["mode"], *sources, "-", *sorted(group["excluded_sources"])

    rows = mcfwd.wait_for(lambda _: answered(mcfwd, "groups"), SOON, "groups")
    return sorted(map(row, rows))


def answered(mcfwd: Mcfwd, noun: str):
    """The rows of a noun; None while API or agent do not answer."""
    with suppress(OSError):
        return mcfwd.show(noun)
    return None


def reported_and_routed(mcfwd: Mcfwd) -> list[str]:
    """What is reported upstream and what is forwarded, in an order of its own."""
    return sorted(str(row) for noun in ("upstream", "routes") for row in mcfwd.show(noun))


def withdraws(frame: Frame) -> bool:
    """Whether an IGMP message takes anything back: a leave, a change to INCLUDE, a block."""
    message = frame.payload
    if message[0] != V3_REPORT:
        return message[0] == V2_LEAVE
    at, kinds = 8, []
    for _ in range(int.from_bytes(message[6:8], "big")):
        kinds.append(message[at])
        at += 8 + 4 * (message[at + 1] + int.from_bytes(message[at + 2 : at + 4], "big"))
    return TO_INCLUDE in kinds or BLOCK in kinds


@pytest.fixture
def flowing(make_lab, start_mcfwd, stack):
    lab = make_lab(4)
    mcfwd = start_mcfwd(lab)
    flowing = Flowing(lab, mcfwd, stack)
    yield flowing
    flowing.assert_nothing_is_unaccounted_for()
    assert "Traceback" not in mcfwd.read_log()


# killed


@pytest.mark.parametrize("victim", [AGENT, API])
def test_a_killed_process_beside_the_stream_costs_nothing(flowing, victim):
    mcfwd, replaced = flowing.mcfwd, []

    def kill() -> None:
        replaced.append(mcfwd.wait_replaced(victim, mcfwd.kill(victim), SOON))

    flowing.undisturbed(kill)
    assert [row["restarts"] for row in replaced] == list(range(1, len(replaced) + 1))
    assert mcfwd.read_log().count(f"{victim} ended (killed by SIGKILL); starting it again") == len(replaced)
    assert {row["group"] for row in mcfwd.show("upstream")} == {GROUP}


def test_a_killed_worker_loses_nothing_and_repeats_a_batch_at_most(flowing):
    mcfwd = flowing.mcfwd
    before, others = flowing.groups(), {name: pid for name, pid in mcfwd.pids.items() if name != WORKER}
    rows = []

    def kill() -> None:
        rows.append(mcfwd.wait_replaced(WORKER, mcfwd.kill(WORKER), SOON))

    for attempt in range(1, 3):  # a third death in a row would be backed off
        mcfwd.wait_for(lambda _: SPARE in mcfwd.children().values(), SOON, "the spare worker")
        repeated, carried = flowing.counted("duplicated"), mcfwd.interface("up0")["rx_packets"]
        free_of_loss = flowing.is_free_of_loss(kill)
        repeated = [after - former for after, former in zip(flowing.counted("duplicated"), repeated, strict=True)]
        print(f"repeated {repeated}")
        assert max(repeated) <= BATCH
        assert rows[-1]["restarts"] == attempt
        assert mcfwd.interface("up0")["rx_packets"] > carried  # its counters went on
        if free_of_loss:
            break
    else:
        pytest.fail("the worker was not back in time")
    assert "mcfwd-worker-0 ended (killed by SIGKILL); starting it again now" in mcfwd.read_log()
    assert (flowing.groups(), flowing.withdrawals()) == (before, [])
    assert {name: pid for name, pid in mcfwd.pids.items() if name != WORKER} == others


def test_a_restarted_agent_takes_back_sources_and_exclusions(make_lab, start_mcfwd, stack):
    lab = make_lab(4)
    mcfwd = start_mcfwd(lab)
    upstream = stack.enter_context(Capture(lab.source))
    receivers = [stack.enter_context(Receiver(each)) for each in lab.receivers]
    receivers[0].join(CHANNEL, SOURCE)
    receivers[1].join(GROUP)
    receivers[1].command("block", GROUP, "10.0.0.77")
    receivers[2].join(GROUP, SOURCE)
    receivers[3].join(GROUP)
    wanted = sorted(
        [
            ("down0", CHANNEL, "include", SOURCE, "-"),
            ("down1", GROUP, "exclude", "-", "10.0.0.77"),
            ("down2", GROUP, "include", SOURCE, "-"),
            ("down3", GROUP, "exclude", "-"),
        ]
    )
    mcfwd.wait_for(lambda _: memberships(mcfwd) == wanted, SOON, "all memberships")
    told = reported_and_routed(mcfwd)
    stack.enter_context(Sender(lab.source, GROUP, CHANNEL, rate=2000))
    for receiver in receivers:
        receiver.wait_received(200)
    before = len(upstream.frames)
    mcfwd.wait_replaced(AGENT, mcfwd.kill(AGENT), SOON)
    for receiver in receivers:
        receiver.wait_received(receiver.report().total("received") + 300)
    assert memberships(mcfwd) == wanted
    assert reported_and_routed(mcfwd) == told
    assert [receiver.report().total("lost") for receiver in receivers] == [0] * 4
    assert [frame for frame in upstream.frames[before:] if frame.source == UPSTREAM and withdraws(frame)] == []
    assert "Traceback" not in mcfwd.read_log()


@pytest.mark.slow
def test_a_restarted_agent_goes_on_with_the_queriers_and_older_hosts_there_are(make_lab, start_mcfwd, stack):
    """A second forwarder on a LAN, or a version that a router does not understand, would last until its next query."""
    lab = make_lab(2)
    mcfwd = start_mcfwd(lab)
    links.delete_address(lab.router, "down0", f"{downstream_network(0)}.1/24")
    links.add_address(lab.router, "down0", f"{downstream_network(0)}.5/24")
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["querier_address"].endswith(".5"), SOON, "new address")
    above = stack.enter_context(Neighbour(lab.source, SOURCE))
    below = [stack.enter_context(Neighbour(each, lab.address(at))) for at, each in enumerate(lab.receivers)]
    for host in below:
        host.report_old(2, GROUP)
    above.say(query_message(version=2, response=10.0), "224.0.0.1")
    below[0].say(query_message(interval=125), "224.0.0.1", f"{downstream_network(0)}.2")

    def found() -> list[object]:
        rows = {name: mcfwd.interface(name) for name in ("up0", "down0", "down1")}
        roles = [(rows[name]["querier"], rows[name]["querier_address"]) for name in ("down0", "down1")]
        groups = [mcfwd.group(name, GROUP) for name in ("down0", "down1")]
        return [rows["up0"]["igmp_version"], *roles, *(each and each["compatibility"] for each in groups)]

    wanted = [2, (False, f"{downstream_network(0)}.2"), (True, f"{downstream_network(1)}.1"), 2, 2]
    mcfwd.wait_for(lambda _: found() == wanted, SOON, "the standing before")
    links_of = [stack.enter_context(Capture(each)) for each in lab.receivers]
    stack.enter_context(Sender(lab.source, GROUP, rate=2000))
    carried = [stack.enter_context(Capture(each, protocol=UDP)) for each in lab.receivers]
    carried[1].wait_for(bool, SOON)
    mcfwd.wait_replaced(AGENT, mcfwd.kill(AGENT), SOON)
    links_of[1].wait_for(lambda frame: frame.payload[0] == 0x11 and not frame.outgoing, SOON, "a query as at the start")
    count = len(carried[1].frames)
    carried[1].wait_for(lambda _: len(carried[1].frames) > count + 500, SOON, "datagrams")
    assert mcfwd.wait_for(lambda _: found() == wanted, SOON, "the standing after")
    assert links_of[0].select(lambda frame: frame.payload[0] == 0x11 and not frame.outgoing) == []
    assert carried[0].frames == []
    assert "Traceback" not in mcfwd.read_log()


@pytest.mark.slow
def test_counters_go_on_after_restarts(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(500)
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["igmp"]["report_v3"], SOON, "a report counted")
        before = mcfwd.interface("down0")
        for name in (AGENT, WORKER, API):
            mcfwd.wait_replaced(name, mcfwd.kill(name), SOON)
        after = mcfwd.wait_for(lambda _: mcfwd.interface("down0"), SOON)
    assert after["tx_packets"] >= before["tx_packets"]
    assert {name for name, count in after["igmp"].items() if count < before["igmp"][name]} == set()


# frozen


def test_a_frozen_agent_costs_nothing_and_catches_up(flowing):
    mcfwd, pids = flowing.mcfwd, flowing.mcfwd.pids

    def freeze() -> None:
        mcfwd.kill(AGENT, signal.SIGSTOP)
        try:
            flowing.carry(int(FREEZE * RATE))
            assert mcfwd.show("groups") is None
        finally:
            mcfwd.kill(AGENT, signal.SIGCONT)

    flowing.undisturbed(freeze)
    mcfwd.kill(AGENT, signal.SIGSTOP)
    try:
        flowing.receivers[0].join(OTHER)
    finally:
        mcfwd.kill(AGENT, signal.SIGCONT)
    mcfwd.wait_for(lambda _: ("down0", OTHER, "exclude", "-") in flowing.groups(), SOON, "what was joined meanwhile")
    assert mcfwd.pids == pids


def test_a_frozen_api_costs_nothing(flowing):
    mcfwd, pids = flowing.mcfwd, flowing.mcfwd.pids

    def freeze() -> None:
        mcfwd.kill(API, signal.SIGSTOP)
        try:
            flowing.carry(int(FREEZE * RATE))
        finally:
            os.kill(pids[API], signal.SIGCONT)

    flowing.undisturbed(freeze)
    assert mcfwd.pids == pids


def test_a_frozen_worker_forwards_again_and_says_what_it_lost(flowing):
    mcfwd, pids, before = flowing.mcfwd, flowing.mcfwd.pids, flowing.groups()
    refused = flowing.refused()
    mcfwd.kill(WORKER, signal.SIGSTOP)
    try:
        wait_for(lambda: mcfwd.process_row(WORKER)["heartbeat"] > FREEZE, SOON, "freeze")
    finally:
        mcfwd.kill(WORKER, signal.SIGCONT)
    flowing.carry(RATE)
    assert flowing.refused() > refused
    assert max(flowing.counted("duplicated")) == 0
    assert (mcfwd.pids, flowing.groups(), flowing.withdrawals()) == (pids, before, [])


@pytest.mark.slow
@pytest.mark.parametrize("victim", [AGENT, WORKER, API])
def test_a_process_that_stays_frozen_is_killed_and_replaced(flowing, victim):
    mcfwd, before = flowing.mcfwd, flowing.groups()
    row = mcfwd.wait_replaced(victim, mcfwd.kill(victim, signal.SIGSTOP), 40.0)
    assert row["restarts"] == 1
    assert re.search(rf"{victim} has been silent for \d+ s and is killed", mcfwd.read_log())
    flowing.carry(RATE // 2)
    assert (flowing.groups(), flowing.withdrawals()) == (before, [])


@pytest.mark.slow
def test_an_instance_that_was_frozen_as_a_whole_goes_on_as_it_is(flowing):
    mcfwd, pids, before = flowing.mcfwd, flowing.mcfwd.pids, flowing.groups()
    everybody = [*pids.values(), *mcfwd.children()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(15.0)  # nobody is awake to be asked
    finally:
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
    flowing.carry(RATE)
    assert (mcfwd.pids, flowing.groups(), flowing.withdrawals()) == (pids, before, [])


# crashing again and again


@pytest.mark.slow
def test_a_process_that_keeps_crashing_is_backed_off(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
        for restarts in range(1, 5):
            row = mcfwd.wait_replaced(AGENT, mcfwd.kill(AGENT), SOON)
            assert row["restarts"] == restarts
        delays = re.findall(rf"{AGENT} ended \(killed by SIGKILL\); starting it again (.*)", mcfwd.read_log())
        assert delays == ["now", "now", "in 0.5 s", "in 1 s"]
        assert mcfwd.wait_member("down0", GROUP, SOON)["mode"] == "exclude"
        assert receiver.report().total("lost") == 0
    assert "Traceback" not in mcfwd.read_log()


def spare_of(mcfwd: Mcfwd) -> int | None:
    return next((pid for pid, name in mcfwd.children().items() if name == SPARE), None)


@pytest.mark.slow
def test_the_spare_worker_takes_over_and_another_is_made(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    spare = mcfwd.wait_for(spare_of, SOON, "the spare worker")
    assert mcfwd.wait_replaced(WORKER, mcfwd.kill(WORKER), SOON)["pid"] == spare
    assert mcfwd.wait_for(spare_of, SOON, "another spare worker") != spare


@pytest.mark.slow
def test_a_spare_worker_that_was_stopped_is_not_waited_for(lab, start_mcfwd):
    """It fills the role in vain for two seconds, not for the thirty that a start may take."""
    mcfwd = start_mcfwd(lab)
    spare = mcfwd.wait_for(spare_of, SOON, "the spare worker")
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100, SOON)
        os.kill(spare, signal.SIGSTOP)
        mcfwd.kill(WORKER)
        began = time.monotonic()
        mcfwd.wait_for(lambda _: mcfwd.pids.get(WORKER, spare) != spare, SOON, "another worker")
        before = receiver.report().total("received")
        receiver.wait_received(before + 100, SOON)
        assert time.monotonic() - began < 15.0      # 2 s, a start, and what a busy machine takes


@pytest.mark.slow
def test_a_spare_worker_that_dies_is_made_again_and_missed_by_nobody(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    spare = mcfwd.wait_for(spare_of, SOON, "the spare worker")
    os.kill(spare, signal.SIGKILL)
    mcfwd.wait_for(lambda _: "the spare worker ended (killed by SIGKILL)" in mcfwd.read_log(), SOON, "said")
    mcfwd.wait_replaced(WORKER, mcfwd.kill(WORKER), SOON)
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100, SOON)
    assert mcfwd.wait_for(spare_of, SOON, "another spare worker") != spare
    assert "Traceback" not in mcfwd.read_log()
