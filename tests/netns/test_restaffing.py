"""A reload that asks for other workers, more flows or another profile: streams lose nothing, counters go on.

The machine itself may stop a worker for longer than its ring lasts; the kernel then says so (`ring_full`), and such an
attempt is made again.
"""

import os
import signal
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender

GROUPS = [f"239.1.2.{number}" for number in range(1, 17)]
RATE = 4_000
SOON = 30.0
ATTEMPTS = 3


class Site:
    """A stream to all groups and two receivers of it, through an instance whose `[dataplane]` changes."""

    def __init__(self, lab, start_mcfwd, stack, file: Path) -> None:
        self.file = file
        self.say()
        self.mcfwd = start_mcfwd(lab, "-c", str(file))
        self.receivers = [stack.enter_context(Receiver(each, *GROUPS, verify=True)) for each in lab.receivers[:2]]
        for port in lab.downstreams[:2]:
            self.mcfwd.wait_for(lambda it, port=port: it.interface(port)["groups"] == len(GROUPS), SOON, "members")
        self.sender = stack.enter_context(Sender(lab.source, *GROUPS, rate=RATE))
        self.carry()

    def say(self, **keys: object) -> None:
        lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {str(value).lower()}"
                 for key, value in keys.items()]  # fmt: skip
        self.file.write_text("\n".join(["[dataplane]", *lines, ""]))

    def reload(self, **keys: object) -> dict[str, object]:
        self.say(**keys)
        status, answer = self.mcfwd.request("POST", "/v1/reload", {}, timeout=15.0)
        assert status == 201
        return answer

    def carry(self, count: int = RATE // 2) -> None:
        for receiver in self.receivers:
            receiver.wait_received(receiver.report().total("received") + count, SOON)

    def until_said(self, words: str) -> None:
        self.mcfwd.wait_for(lambda _: words in self.mcfwd.read_log(), SOON, words)

    def workers(self) -> set[str]:
        return {name for name in self.mcfwd.pids if "worker" in name}


@pytest.fixture
def site(lab, start_mcfwd, stack, tmp_path):
    return Site(lab, start_mcfwd, stack, tmp_path / "mcfwd.toml")


def test_workers_profiles_and_flows_change_while_a_stream_loses_nothing(lab, tmp_path):
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            site = Site(lab, partial(started, stack), stack, tmp_path / "mcfwd.toml")
            change_all(site)
            sent = site.sender.stop().count
            reports = [receiver.settle() for receiver in site.receivers]
            up, processes = site.mcfwd.interface("up0"), site.mcfwd.show("stats")["processes"]
        if not up["drops"]["ring_full"]:
            break
    for report in reports:
        assert [report.total(what) for what in ("received", "lost", "altered")] == [sent, 0, 0]
    assert up["rx_packets"] >= sent     # those of the worker that is no more too; frames may come to two rings at once
    assert up["rx_packets"] <= sent * 1.02
    assert all(row["restarts"] == 0 for row in processes)


def started(stack: ExitStack, lab, *arguments: str) -> Mcfwd:
    ports = [word for port in lab.downstreams for word in ("-d", port)]
    return stack.enter_context(Mcfwd(lab.router, "-u", lab.upstream, *ports, *arguments))


def change_all(site: Site) -> None:
    """Each change is seen to be made, and that the stream goes on after it."""
    before = site.mcfwd.pids
    assert site.reload(gather_ms=3.0, busy_poll=False, burst=32) == {}
    assert site.mcfwd.pids == before        # manners are taken over as they are
    site.carry()

    assert site.reload(workers=2, max_flows=4096) == {}
    site.until_said("workers now: 2, of 4096 flows each")
    assert site.workers() == {"mcfwd-worker-0", "mcfwd-worker-1"}
    assert site.mcfwd.show("stats")["max_flows"] == 4096
    assert {name: pid for name, pid in before.items() if "worker" not in name}.items() <= site.mcfwd.pids.items()
    site.carry()

    assert site.reload(workers=2, max_flows=4096, profile="latency") == {}
    site.mcfwd.wait_for(lambda asked: asked.interface("up0")["ring"] == "slots", SOON, "another ring")
    site.carry()

    assert site.reload(workers=1, max_flows=4096) == {}
    site.until_said("workers now: 1, of 4096 flows each")
    site.mcfwd.wait_for(lambda asked: asked.interface("up0")["ring"] == "blocks", SOON, "the former ring")
    assert site.workers() == {"mcfwd-worker-0"}
    site.carry()


def test_what_sizes_the_tables_of_all_needs_a_restart_and_says_so(site):
    assert site.reload(max_routes=1000, max_ports=70) == {"ignored": ["dataplane.max_ports", "dataplane.max_routes"]}


def test_a_worker_that_is_killed_while_it_is_replaced_is_replaced(site):
    site.reload(workers=2)
    site.mcfwd.wait_replaced("mcfwd-worker-0", site.mcfwd.kill("mcfwd-worker-0"), SOON)
    site.until_said("workers now: 2, of 65536 flows each")
    site.mcfwd.wait_for(lambda _: "mcfwd-worker-1" in site.mcfwd.pids, SOON, "the second worker")
    site.carry()


@pytest.mark.slow
def test_reloads_that_follow_each_other_lose_nothing_and_keep_no_descriptor(site):
    """There is no `ring_memory` for the rings of three workers beside those of two: ports take turns in it."""
    supervisor = site.mcfwd.process.pid

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{supervisor}/fd"))

    site.mcfwd.wait_for(lambda it: "mcfwd-worker-sp" in it.children().values(), SOON, "a spare")
    before, counted = descriptors(), 0
    for workers, profile in zip((3, 2, 1, 3, 2, 3, 1, 2), cycle(("balanced", "latency", "throughput")), strict=False):
        site.say(workers=workers, max_flows=4096 * workers, profile=profile)
        site.mcfwd.process.send_signal(signal.SIGHUP)
        site.carry(RATE)
        counted, former = site.mcfwd.interface("up0")["rx_packets"], counted
        assert counted >= former
    site.say(workers=1, max_flows=1024)
    site.mcfwd.process.send_signal(signal.SIGHUP)
    site.until_said("workers now: 1, of 1024 flows each")
    sent = site.sender.stop().count
    for receiver in site.receivers:
        report = receiver.settle()
        assert [report.total(what) for what in ("received", "lost", "altered")] == [sent, 0, 0]
    site.mcfwd.wait_for(lambda _: descriptors() <= before, SOON, "as many descriptors as before")
    stats = site.mcfwd.show("stats")
    assert (stats["faults"], stats["degraded"]) == (0, [])
    assert all(row["restarts"] == 0 for row in stats["processes"])
