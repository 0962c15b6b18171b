"""Workers replaced one after the other, over a staff of the test's; and what each leaves to its successor."""

import math
import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lacking import only
from test_staff import WORKER, Office

from forwarder.process import control
from forwarder.state import worker_segment
from forwarder.state.settings import DataplaneSettings
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import ASSIGNED, BATCHES, COUNTS, FRAMES, HEARTBEAT, MAX_FLOWS, POSITION
from forwarder.supervisor.restaffing import PATIENCE, SPARE_WAIT
from forwarder.supervisor.shared import AGENT, API

PORTS = 4


def of(workers: int, flows: int = 64) -> DataplaneSettings:
    return DataplaneSettings(max_ports=4, max_flows=flows, max_routes=64, workers=workers)


# --- what is left ---


@given(st.integers(64, 200), st.integers(64, 200), st.integers(1, 130), st.randoms())
def test_a_successor_has_all_that_was_counted_and_the_flows_for_which_there_is_room(had, most, ports, random):
    former, fd = worker_segment.create(0, ports, had), worker_segment.create(0, ports, most)
    try:
        old = WorkerSegment(former, writable=True)
        old.header[HEARTBEAT:] = random.getrandbits(60)
        for words in (old.ports, old.drops, old.flows.ports):
            words[:] = np.arange(words.size).reshape(words.shape) + random.getrandbits(60)
        for number, column in enumerate(old.flows.__dataclass_fields__):
            getattr(old.flows, column)[:] += np.uint64(number * 1000)
            getattr(old.flows, column)[:] += np.arange(had, dtype=np.uint64).reshape(-1, *[1] * (column == "ports"))
        worker_segment.hand_on(former, fd)
        new, many = WorkerSegment(fd), min(had, most)
        assert new.header[MAX_FLOWS] == most
        assert (new.header[HEARTBEAT:] == old.header[HEARTBEAT:]).all()
        assert (new.ports == old.ports).all()
        assert (new.drops == old.drops).all()
        for column in old.flows.__dataclass_fields__:
            assert (getattr(new.flows, column)[:many] == getattr(old.flows, column)[:many]).all(), column
            assert not getattr(new.flows, column)[many:].any(), column
    finally:
        os.close(former)
        os.close(fd)


def test_what_a_worker_has_carried_who_is_replaced_by_nobody_is_added_where_the_port_is_the_same():
    dismissed, fd = worker_segment.create(1, PORTS, 64), worker_segment.create(0, PORTS, 64)
    try:
        old, new = WorkerSegment(dismissed, writable=True), WorkerSegment(fd, writable=True)
        old.header[BATCHES], old.header[FRAMES], new.header[FRAMES] = 3, 4, 10
        old.ports[:], new.ports[:] = 5, 7
        old.ports[:, ASSIGNED] = new.ports[:, ASSIGNED] = 1
        new.ports[2, ASSIGNED] = 2      # the index is another port's there
        worker_segment.add(dismissed, fd)
        assert (new.header[BATCHES], new.header[FRAMES]) == (3, 14)
        assert {int(new.ports[0, at]) for at in COUNTS} == {12}
        assert int(new.ports[0, POSITION]) == 7
        assert {int(new.ports[2, at]) for at in COUNTS} == {7}
    finally:
        os.close(dismissed)
        os.close(fd)


# --- one after the other ---


class Company(Office):
    """An office whose children do as they are told: ready once they have heard all, they leave when asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, str] = {}         # of those who were started, by their number
        self.log: list[str] = []
        self.sized: list[int] = []
        self.odd = False                        # rings are being opened
        self.deaf = False                       # children stand still
        self.useless = 0                        # of so many flows no worker gets ready
        self.ports = self.staff._ports          # the test's own, see Office
        self.ports.resize, self.ports.read_segments = self.resize, lambda workers: None
        self.ports.company = self
        self.staff.start()
        self.staff.open_doors()
        self.live(3)

    def resize(self, workers: int) -> None:
        self.log.append(f"rings for {workers}")
        self.odd = True

    def live(self, turns: int = 1, seconds: float = 0.5) -> None:
        for _ in range(turns):
            for at in range(len(self.started) if not self.deaf else 0):
                self.play(at)
            for fd in self.shared.workers:
                WorkerSegment(fd, writable=True).header[HEARTBEAT] = int((self.now + seconds) * 1e9)
            self.turn(seconds)
            self.staff.keep_spare(self.now)

    def play(self, at: int) -> None:
        _, popen, theirs = self.started[at]
        while popen.status is None:
            try:
                received = control.receive(theirs)
            except BlockingIOError:
                return
            self.hear(at, popen, theirs, received)

    def hear(self, at, popen, theirs, received) -> None:
        if received is None or received[0]["type"] == "leave":
            popen.status = 0
            self.log.append(f"{self.names[at]} {'ends' if received is None else 'leaves'}")
            return
        message, descriptors = received
        for descriptor in descriptors.values():
            os.close(descriptor)
        match message["type"]:
            case "start":
                self.names[at] = message["name"].removeprefix("mcfwd-")
                self.log.append(f"{self.names[at]} starts")
                control.send(theirs, {"type": "here"})
            case "workers":
                self.log.append(f"{self.names[at]}: {' '.join(descriptors)}")
        if self.useless and "worker" in self.names[at] and message["type"] == "ports_sent" and self.lacks_memory(at):
            popen.status = 1
            return
        if message["type"] == ("start" if self.names[at] == "api" else "ports_sent"):
            control.send(theirs, {"type": "ready"})

    def lacks_memory(self, at: int) -> bool:
        fd = self.shared.workers[int(self.names[at].removeprefix("worker-"))]
        return int(WorkerSegment(fd).header[MAX_FLOWS]) == self.useless

    def until(self, words: str) -> None:
        for _ in range(200):
            if any(words in each for each in self.log):
                return
            self.live()
        raise AssertionError(self.log)

    def workers(self) -> list[str]:
        return [name for name in self.processes() if "worker" in name]


@pytest.fixture
def company():
    made = Company()
    made.log.clear()
    yield made
    made.selector.close()
    for _, _, theirs in made.started:
        theirs.close()


def test_more_workers_begin_before_rings_are_opened_for_all(company):
    company.staff.restaff(of(2))
    company.until("rings for 2")
    began = company.log.index("worker-1 starts")
    assert company.log.index("worker-0 starts") < began < company.log.index("rings for 2")
    assert company.workers() == [WORKER, "mcfwd-worker-1"]
    company.odd = False
    company.live(3)
    assert "agent: wake-worker-0 wake-worker-1" in company.log
    assert company.log[-1] == "api: worker-0 worker-1"
    assert set(company.processes().values()) == {0}     # nobody was started again because of a fault
    assert len(company.shared.workers) == 2


def test_who_is_one_too_many_gets_nothing_more_then_leaves_and_what_it_carried_counts_on(company):
    company.staff.restaff(of(2))
    company.until("rings for 2")
    company.odd = False
    company.live(3)
    for fd in company.shared.workers:
        WorkerSegment(fd, writable=True).header[FRAMES] = 100
    company.log.clear()
    company.staff.restaff(of(1))
    company.until("rings for 1")
    company.live(20)
    assert not [each for each in company.log if "ends" in each or "leaves" in each]   # while rings are being opened
    company.odd = False
    company.until("worker-0 starts")
    company.live(3)
    assert company.log.index("worker-1 leaves") < company.log.index("worker-0 ends")
    assert company.workers() == [WORKER]
    assert WorkerSegment(company.shared.workers[0]).header[FRAMES] == 200
    assert company.log[-1] in ("api: worker-0", "agent: wake-worker-0")
    assert [name for name in company.shared.wake if "worker" in name] == [WORKER]


def test_no_two_are_away_and_each_waits_for_a_spare(company):
    company.staff.restaff(of(3))
    company.until("rings for 3")
    company.odd = False
    company.live(3)
    company.log.clear()
    company.staff.restaff(of(3, flows=128))
    company.until("worker-2 starts")
    told = [each for each in company.log if each.startswith("worker")]
    assert told == [f"worker-{number} {what}" for number in range(3) for what in ("ends", "starts")]
    assert [WorkerSegment(fd).header[MAX_FLOWS] for fd in company.shared.workers] == [128] * 3


def test_where_there_is_no_spare_it_goes_on_without_one(company):
    company.refusal = OSError("no process to be had")
    company.staff._spare = None     # it has just been used
    company.staff._spare_not_before = math.inf
    company.staff.restaff(of(1, flows=128))
    company.live(2 * int(SPARE_WAIT) - 1)
    assert not [each for each in company.log if each.startswith("worker")]
    company.live(2)
    company.refusal = None
    company.until("worker-0 starts")


def test_what_is_asked_meanwhile_comes_next(company):
    company.staff.restaff(of(1, flows=128))
    company.live()
    company.staff.restaff(of(1, flows=256))
    company.until("worker-0 starts")
    company.live(60)
    assert WorkerSegment(company.shared.workers[0]).header[MAX_FLOWS] == 256


def test_a_worker_that_dies_instead_of_leaving_has_the_same_successor(company):
    company.staff.restaff(of(1, flows=128))
    company.live()
    at = next(at for at, name in company.names.items() if name == "worker-0")
    company.started[at][1].status = -signal.SIGKILL
    company.until("worker-0 starts")
    company.live(60)
    assert WorkerSegment(company.shared.workers[0]).header[MAX_FLOWS] == 128


def test_agent_and_api_that_begin_meanwhile_have_what_there_is_then(company):
    company.staff.restaff(of(2))
    company.until("rings for 2")
    company.odd = False
    company.live(3)
    assert set(company.staff.children[AGENT].descriptors()) >= {"wake-worker-0", "wake-worker-1"}
    assert set(company.staff.children[API].descriptors()) >= {"worker-0", "worker-1"}


# --- what the system refuses, and those who do not get ready ---


@pytest.mark.parametrize(("workers", "flows"), [(1, 128), (3, 64), (1, 64)])
@pytest.mark.parametrize("left", range(8))
def test_every_descriptor_is_refused_once_and_nothing_is_lost(company, workers, flows, left):
    company.staff.restaff(of(2))
    company.until("rings for 2")
    company.odd = False
    company.live(3)
    for fd in company.shared.workers:
        WorkerSegment(fd, writable=True).header[FRAMES] = 100
    company.staff.restaff(of(workers, flows))
    for _ in range(40):     # every turn is refused what it asks for, and has it in the next one
        with only(left):
            company.now += 0.1
            company.staff.keep(company.now)
        company.live()
        company.odd = False
    company.live(40)
    assert sum(WorkerSegment(fd).header[FRAMES] for fd in company.shared.workers) == 200
    assert [WorkerSegment(fd).header[MAX_FLOWS] for fd in company.shared.workers] == [flows] * workers
    assert company.workers() == [f"mcfwd-worker-{number}" for number in range(workers)]
    assert company.staff.serves()
    assert not [each for each in company.staff.children.values() if each.killed or each.restarts]


def test_a_plan_that_is_refused_is_no_change_and_is_made_when_it_can_be(company, caplog):
    caplog.set_level("INFO")
    company.staff.restaff(of(2))
    with only(0):
        for _ in range(3):
            company.now += 0.1
            company.staff.keep(company.now)
    assert not [each for each in caplog.messages if "workers now" in each]
    company.until("rings for 2")
    company.odd = False
    company.live(3)
    assert "workers now: 2, of 64 flows each" in caplog.messages


def test_a_worker_that_never_gets_ready_does_not_keep_others_from_being_asked_for(company):
    company.useless = 128       # who has so many flows ends at once, as where there is no memory for them
    company.staff.restaff(of(2, flows=128))
    company.live(60)
    assert not company.staff.serves()
    company.staff.restaff(of(1, flows=64))
    company.live(3 * int(PATIENCE))
    assert company.staff.serves()
    assert [WorkerSegment(fd).header[MAX_FLOWS] for fd in company.shared.workers] == [64]
    assert [name for name in company.shared.wake if "worker" in name] == [WORKER]


def test_reloads_that_follow_each_other_leave_workers_the_time_to_begin(company):
    for turn in range(60):
        company.staff.restaff(of(1, flows=(64, 128, 256)[turn % 3]))
        company.live()
    starts = [each for each in company.log if each == "worker-0 starts"]
    ends = [each for each in company.log if each == "worker-0 ends"]
    assert len(starts) >= len(ends) - 1
    company.staff.restaff(of(1, flows=512))
    company.live(60)
    assert [WorkerSegment(fd).header[MAX_FLOWS] for fd in company.shared.workers] == [512]


def test_a_worker_that_stands_still_before_it_has_begun_is_replaced_all_the_same(company):
    child = company.staff.children[WORKER]
    child.begun = child.ready = False       # it was told nothing yet
    company.deaf = True
    company.staff.restaff(of(1, flows=128))
    company.alive.discard(WORKER)
    for _ in range(80):
        company.turn(0.5)
    company.deaf = False
    company.until("worker-0 starts")


def test_agent_and_api_are_told_again_what_was_cut_off(company):
    company.staff.restaff(of(2))
    company.until("rings for 2")
    company.odd = False
    company.live(3)
    company.log.clear()
    for at, name in company.names.items():
        if name in ("agent", "api"):
            control.send(company.started[at][2], {"type": "again"})
    company.live(2)
    assert {"agent: wake-worker-0 wake-worker-1", "api: worker-0 worker-1"} <= set(company.log)


def test_who_is_one_more_reads_no_ring_before_all_ports_have_one_for_it(company):
    lent, without = company.ports.loan, {0, 1}
    company.ports.loan = lambda worker, index: None if worker and index in without else lent(worker, index)
    company.staff.restaff(of(2))
    company.until("rings for 2")
    without.remove(0)
    company.staff.owe_rings(0)      # those of a port are there, those of the other are not
    company.live(10)
    assert not company.staff.children["mcfwd-worker-1"].ready
    assert company.staff.children[WORKER].ready
    company.odd = False
    without.remove(1)
    company.staff.owe_rings(1)
    company.live(3)
    assert company.staff.children["mcfwd-worker-1"].ready
