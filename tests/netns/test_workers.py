"""Several workers: each carries its share of the flows, in order, and none notices the death of another.

What is limited is limited for all of them together.
"""

import pytest

from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.wait import wait_for

GROUPS = [f"239.1.2.{number}" for number in range(1, 17)]
COUNT = 32000
SOON = 20.0


@pytest.fixture
def members(lab, start_mcfwd, stack):
    mcfwd = start_mcfwd(lab, "--workers", "2")
    receivers = [stack.enter_context(Receiver(each, *GROUPS, verify=True)) for each in lab.receivers]
    for port in lab.downstreams:
        mcfwd.wait_for(lambda asked, port=port: asked.interface(port)["groups"] == len(GROUPS), SOON, "members")
    return mcfwd, receivers


def assert_all_in_order(receivers, count: int) -> None:
    for receiver in receivers:
        report = receiver.wait_received(count, SOON)
        counts = [report.total(what) for what in ("received", "lost", "duplicated", "reordered", "altered")]
        assert (counts, report.stray) == ([count, 0, 0, 0, 0], 0)


def test_both_carry_flows_and_counters_are_those_of_both(lab, members):
    mcfwd, receivers = members
    with Sender(lab.source, *GROUPS, count=COUNT, rate=16000) as sender:
        sender.wait(SOON)
    assert_all_in_order(receivers, COUNT)
    assert [mcfwd.interface(name)[key] for name, key in (("up0", "rx_packets"), ("down1", "tx_packets"))] == [COUNT] * 2
    flows = mcfwd.show("flows")
    assert sorted((flow["group"], flow["packets"]) for flow in flows) == sorted((g, COUNT // 16) for g in GROUPS)
    assert {name for name in mcfwd.pids if "worker" in name} == {"mcfwd-worker-0", "mcfwd-worker-1"}


@pytest.mark.parametrize("victim", ["mcfwd-worker-0", "mcfwd-worker-1"])
def test_the_flows_of_one_do_not_notice_when_the_other_is_killed(lab, members, victim):
    mcfwd, receivers = members
    with Sender(lab.source, *GROUPS, count=COUNT, rate=8000) as sender:
        receivers[0].wait_received(COUNT // 8, SOON)
        mcfwd.wait_replaced(victim, mcfwd.kill(victim), SOON)
        sender.wait(SOON)
    for receiver in receivers:
        wait_for(lambda receiver=receiver: receiver.report().total("received") >= COUNT, SOON, "all of them")
        report = receiver.settle()
        assert [report.total(what) for what in ("received", "lost", "altered")] == [COUNT, 0, 0]
        disturbed = [stream for stream in report.streams if stream.duplicated or stream.reordered]
        assert len(disturbed) < len(GROUPS)  # a killed worker may repeat the batch it had in hand


def test_a_killed_worker_of_the_latency_profile_loses_nothing(lab, start_mcfwd, stack):
    mcfwd = start_mcfwd(lab, "--profile", "latency")
    receivers = [stack.enter_context(Receiver(each, GROUPS[0], verify=True)) for each in lab.receivers]
    for port in lab.downstreams:
        mcfwd.wait_member(port, GROUPS[0], SOON)
    with Sender(lab.source, GROUPS[0], count=8000, rate=2000) as sender:
        for count in (1000, 4000):
            receivers[0].wait_received(count, SOON)
            mcfwd.wait_replaced("mcfwd-worker-0", mcfwd.kill("mcfwd-worker-0"), SOON)
        sender.wait(SOON)
    for receiver in receivers:
        wait_for(lambda receiver=receiver: receiver.report().total("received") >= 8000, SOON, "all of them")
        assert [receiver.settle().total(what) for what in ("received", "lost", "altered")] == [8000, 0, 0]


@pytest.mark.parametrize("groups", [1, len(GROUPS)])
def test_a_rate_limit_holds_for_all_workers_together(lab, start_mcfwd, stack, tmp_path, groups):
    """8 Mbit/s, of which twice as much is offered; 16 flows are on both workers, one has it all for itself."""
    file = tmp_path / "mcfwd.toml"
    file.write_text('[[interface]]\nname = "down1"\nrate_limit = "8mbit"\n')
    mcfwd = start_mcfwd(lab, "--workers", "2", "-c", str(file))
    limited = stack.enter_context(Receiver(lab.receivers[1], *GROUPS[:groups]))
    mcfwd.wait_for(lambda asked: asked.interface("down1")["groups"] == groups, SOON, "members")
    seconds, size = 3.0, 1000
    with Sender(lab.source, *GROUPS[:groups], seconds=seconds, rate=2_000, size=size - 28, burst=16) as sender:
        seconds = sender.wait(SOON).seconds
    allowed = 1_000_000 * seconds / size
    received = limited.settle().total("received")
    assert 0.7 * allowed <= received <= 1.10 * allowed + 50  # what a sender that stands still does not offer is lost
