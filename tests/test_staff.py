"""Children over a starter and a clock of the test's: who is started when, adopted, put off, killed, and told what."""

import errno
import os
import selectors
import signal
import socket
import subprocess

import pytest
import segments
from control_groups import MIB, second

from forwarder.process import control
from forwarder.process.launch import describe
from forwarder.state.membership import MembershipWriter
from forwarder.state.segment import Segment
from forwarder.state.settings import DataplaneSettings
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.standing import Standing
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import HEARTBEAT
from forwarder.supervisor.children import LONGEST_BACKOFF, SHORT_LIFE, START, Child, Process
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.memory_limit import MemoryLimit
from forwarder.supervisor.shared import AGENT, API
from forwarder.supervisor.staff import LATE, SPARE_RETRY, Staff
from forwarder.supervisor.thrift import Thrift

WORKER = "mcfwd-worker-0"


class Popen:
    """A child as the supervisor sees it: its number, and how it ended."""

    numbers = iter(range(100, 1_000_000))

    stubborn = False    # the kernel does not let go of it

    def __init__(self) -> None:
        self.pid, self.status, self.killed = next(self.numbers), None, False

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        assert not self.killed
        self.killed = True
        if not self.stubborn:
            self.status = -signal.SIGKILL

    def wait(self, timeout: float) -> int | None:
        if self.status is None:
            raise subprocess.TimeoutExpired("a child", timeout)
        return self.status


class Channel(socket.socket):
    """Our end of a child's channel; the kernel refuses what it is told to, as often as it says."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.refused: dict[str, list[int]] = {"sendmsg": [], "recvmsg": []}

    def sendmsg(self, *given: object) -> int:
        self._refuse("sendmsg")
        return super().sendmsg(*given)

    def recvmsg(self, *given: object) -> tuple:
        self._refuse("recvmsg")
        return super().recvmsg(*given)

    def _refuse(self, call: str) -> None:
        if self.refused[call]:
            raise OSError(number := self.refused[call].pop(0), os.strerror(number))


class Selector(selectors.DefaultSelector):
    """One that the kernel may have no memory for."""

    refusals = 0

    def register(self, *given: object) -> selectors.SelectorKey:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return super().register(*given)


class Ports:
    """What there is to be lent."""

    def __init__(self, office: "Office") -> None:
        self._office = office

    @property
    def open(self) -> list[int]:
        return list(self._office.open)

    changed, ring_memory, waiting, said = 0, 0, None, ()
    company: "Office | None" = None

    @property
    def resizing(self) -> bool:
        return self.company is not None and self.company.odd

    def standings(self, waiting) -> list:
        self.waiting = waiting
        return list(self.said)

    def loan(self, worker: int | None, index: int) -> tuple[dict, dict]:
        return {"type": "port", "port": index, "worker": worker}, {}


class Office:
    """A staff, with the children's ends of its channels."""

    def __init__(self) -> None:
        self.now, self.refusal = 1000.0, None
        self.refused_at_start: dict[str, list[int]] = {}
        self.channels: list[Channel] = []
        self.started: list[tuple[str, Popen, socket.socket]] = []
        self.shared = segments.shared(DataplaneSettings(max_ports=4, max_flows=64, max_routes=64))
        self.selector = Selector()
        self.guard = Guard(self.clock)
        self.answer = lambda request, reply: reply({"type": "answer", "id": request.get("id")})
        self.open = (0, 1)
        self.alive = {WORKER, AGENT, API}   # whose hearts beat
        self.hearts = {WORKER: WorkerSegment(self.shared.workers[0], writable=True),
                       AGENT: MembershipWriter(self.shared.membership), API: Segment(self.shared.api, writable=True)}
        listening = os.open(os.devnull, os.O_RDONLY)
        self.ports = Ports(self)
        self.staff = Staff(self.shared, self.ports, listening, self.selector, "info",
                           lambda *asked: self.answer(*asked), self.guard, self.start, self.clock)

    def clock(self) -> float:
        return self.now

    def start(self, module: str, parent: int, nice: int) -> Process:
        assert parent == os.getpid()
        if self.refusal:
            raise self.refusal
        end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours = Channel(end.family, end.type, 0, end.detach())
        ours.refused |= self.refused_at_start
        theirs.setblocking(False)
        popen = Popen()
        self.channels.append(ours)
        self.started.append((module, popen, theirs))
        return Process(popen, ours)

    def heard(self, at: int) -> list[str]:
        """What was said to the child that was started as number `at`."""
        said = []
        while True:
            try:
                received = control.receive(self.started[at][2])
            except BlockingIOError:
                return said
            if received is None:
                return [*said, "gone"]
            for descriptor in received[1].values():
                os.close(descriptor)
            said.append(received[0]["type"])

    def turn(self, seconds: float = 0.2) -> None:
        """A turn of the supervisor's loop, so much later."""
        self.now += seconds
        self.beat()
        for key, _ in self.selector.select(0):
            self.guard.take(*key.data)
        self.staff.keep(self.now)

    def beat(self) -> None:
        nanoseconds = int(self.now * 1e9)
        if WORKER in self.alive:
            self.hearts[WORKER].header[HEARTBEAT] = nanoseconds
        if AGENT in self.alive:
            self.hearts[AGENT].beat(nanoseconds)
        if API in self.alive:
            self.hearts[API].words[0] = nanoseconds

    def all_ready(self) -> None:
        self.staff.open_doors()
        for _, popen, theirs in self.started:
            if popen.status is None:
                control.send(theirs, {"type": "ready"})
        self.turn()

    def processes(self) -> dict[str, int]:
        return {each["name"]: each["restarts"] for each in SnapshotReader(self.shared.processes).poll()["processes"]}


@pytest.fixture
def office():
    made = Office()
    made.staff.start()
    yield made
    made.selector.close()
    for _, _, theirs in made.started:
        theirs.close()


def test_everybody_is_told_what_to_be_and_lent_the_ports_there_are(office):
    modules = ["forwarder.dataplane.worker", "forwarder.agent", "forwarder.api"]
    assert [module for module, *_ in office.started] == modules
    assert [office.heard(at) for at in range(3)] == [["start", "port", "port", "ports_sent"]] * 2 + [[]]
    office.staff.open_doors()
    assert office.heard(2) == ["start"]
    assert not office.staff.complete
    office.all_ready()
    assert office.staff.complete
    assert office.processes() == {"mcfwd": 0, WORKER: 0, AGENT: 0, API: 0}


def test_all_must_be_ready_and_the_data_path_without_the_api(office):
    office.staff.open_doors()
    for at, served, complete in ((0, False, False), (1, True, False), (2, True, True)):
        control.send(office.started[at][2], {"type": "ready"})
        office.turn()
        assert (office.staff.serves(), office.staff.complete) == (served, complete)


def test_a_port_that_is_opened_later_is_lent_to_all_who_borrow_and_a_ring_to_its_worker_alone(office):
    office.all_ready()
    for at in range(3):
        office.heard(at)
    office.staff.owe(2)
    office.turn()
    assert [office.heard(at) for at in range(3)] == [["port"], ["port"], []]
    office.staff.owe(2, worker=0)
    office.turn()
    assert [office.heard(at) for at in range(3)] == [["port"], [], []]
    office.staff.owe(2, worker=1)
    office.turn()
    assert [office.heard(at) for at in range(3)] == [[], [], []]


def test_what_a_queue_does_not_take_is_lent_later_and_in_order(office):
    office.all_ready()
    office.heard(1)
    for index in range(2000):
        office.staff.owe(index)
    office.turn()
    said = office.heard(1)
    assert 0 < len(said) < 2000
    while len(said) < 2000:
        office.turn()
        more = office.heard(1)
        assert more
        said += more
    assert said == ["port"] * 2000


def test_the_doors_are_opened_once(office):
    office.staff.open_doors()
    office.staff.open_doors()
    assert office.heard(2) == ["start"]


def test_at_the_end_the_agent_may_leave_and_then_all_are_ended(office):
    office.all_ready()
    office.staff.keep_spare(office.now)
    office.heard(1)
    office.started[1][1].status = 0
    office.staff.stop()
    assert [popen.killed for _, popen, _ in office.started] == [True] * 4
    assert office.heard(1) == ["stop", "gone"]
    assert office.heard(0)[-1] == "gone"


def test_a_spare_that_ends_is_replaced_after_a_while(office, caplog):
    office.all_ready()
    office.staff.keep_spare(office.now)
    assert office.staff.has_spare
    office.started[3][1].status = 7
    office.staff.keep_spare(office.now)
    assert not office.staff.has_spare
    assert caplog.messages[-1] == "the spare worker ended (exit status 7); starting it again in 5 s"
    office.staff.keep_spare(office.now + SPARE_RETRY - 0.1)
    assert not office.staff.has_spare
    office.staff.keep_spare(office.now + SPARE_RETRY)
    assert office.staff.has_spare


def test_no_spare_waits_where_memory_is_short(office, caplog, tmp_path):
    """Which is no reason to look after the children more often."""
    left = second(tmp_path / "a", str(128 * MIB), usage=100 * MIB)
    office.staff._thrift = Thrift(MemoryLimit([left]))
    office.all_ready()
    for _ in range(3):
        office.turn(SPARE_RETRY)
        office.staff.keep_spare(office.now)
    assert (len(office.started), office.staff.has_spare) == (3, True)
    assert [record.message for record in caplog.records if "spare" in record.message] == [
        "no spare worker waits, so another one takes longer to be replaced: the memory limit (128 MiB) leaves 28 MiB, "
        "one takes 20 MiB, and 16 MiB are to be left"
    ]
    said = SnapshotReader(office.shared.processes).poll()["spare_left_out"]
    assert said == "the memory limit (128 MiB) leaves 28 MiB, one takes 20 MiB"
    second(tmp_path / "a", str(128 * MIB), usage=90 * MIB)
    office.turn(SPARE_RETRY)
    office.staff.keep_spare(office.now)
    office.turn()
    assert len(office.started) == 4
    assert SnapshotReader(office.shared.processes).poll()["spare_left_out"] is None


def test_a_spare_is_given_up_before_somebody_is_killed_who_works(office, tmp_path):
    group = second(tmp_path / "a", str(128 * MIB), usage=50 * MIB)
    office.staff._thrift = Thrift(MemoryLimit([group]))
    office.all_ready()
    office.staff.keep_spare(office.now)
    assert not office.started[3][1].killed
    second(tmp_path / "a", str(128 * MIB), usage=121 * MIB)
    office.staff.keep_spare(office.now + 1)
    assert [popen.killed for _, popen, _ in office.started] == [False, False, False, True]
    assert len(office.started) == 4


def test_who_was_killed_by_the_memory_limit_is_said_with_what_to_lower(office, caplog, tmp_path):
    group = second(tmp_path / "a", str(128 * MIB))
    office.staff._thrift = Thrift(MemoryLimit([group]))
    office.all_ready()
    for status, kills in ((-9, 0), (-11, 0), (-9, 1), (-9, 1), (-9, 2)):     # the limit kills twice
        second(tmp_path / "a", str(128 * MIB), kills=kills)
        office.started[0 if len(office.started) == 3 else -1][1].status = status
        office.turn(20.0)
    said = [record.message for record in caplog.records if "memory limit" in record.message]
    assert said == [
        "mcfwd-worker-0 was killed by the memory limit (128 MiB): raise it, or lower [dataplane] workers or max_flows, "
        "or max_groups of interfaces (docs/operating.md, Memory)"
    ] * 2


def test_there_is_no_spare_before_all_are_ready(office):
    office.staff.keep_spare(office.now)
    assert not office.staff.has_spare


@pytest.mark.parametrize(("pause", "killed"), [(LATE, True), (LATE + 0.5, False)])
def test_a_pause_of_our_own_is_no_silence_of_theirs(office, pause, killed):
    office.all_ready()
    office.alive.remove(AGENT)
    begun = office.now
    while office.now < begun + 9.0:
        office.turn(0.5)
    office.now = round(office.now)
    office.staff.keep(office.now)
    office.turn(pause)
    assert office.started[1][1].killed == killed


def test_a_child_that_ends_is_replaced_at_once_and_who_keeps_ending_later_and_later(office):
    office.all_ready()
    waits, last = [], office.now
    for _ in range(12):
        office.started[-1][1].status = 1
        number = len(office.started)
        while len(office.started) == number:
            office.turn(0.1)
        waits.append(office.now - last)
        last = office.now
    assert waits[:2] == pytest.approx([0.1, 0.1])
    assert waits[2] == pytest.approx(0.6, abs=0.11)
    assert waits[-1] == pytest.approx(LONGEST_BACKOFF, abs=0.2)
    office.turn(SHORT_LIFE + 1)
    office.started[-1][1].status = 1
    number = len(office.started)
    office.turn(0.1)
    assert len(office.started) == number + 1    # it has lived: its successor need not wait
    assert office.processes()[API] == 13


@pytest.mark.parametrize("refusal", [BlockingIOError(11, "Resource temporarily unavailable"), OSError(24, "Too many"),
                                     RuntimeError("can't start new thread")])  # fmt: skip
def test_where_no_process_is_to_be_had_the_role_is_filled_later(office, refusal, caplog):
    office.all_ready()
    office.refusal = refusal
    office.started[1][1].status = -9
    for _ in range(4):
        office.turn(0.1)
    assert len(office.started) == 3
    assert AGENT not in office.processes()
    assert any(f"{AGENT} cannot be started" in message for message in caplog.messages)
    office.refusal = None
    for _ in range(20):
        office.turn(0.1)
    assert len(office.started) == 4
    assert office.heard(3) == ["start", "port", "port", "ports_sent"]
    assert office.processes()[AGENT] == 1


def test_a_spare_that_cannot_be_started_is_tried_again_in_a_while(office):
    office.all_ready()
    office.refusal = OSError(11, "no")
    office.guard.take("keeping a spare", lambda: office.staff.keep_spare(office.now))
    assert (office.guard.faults, office.staff.has_spare) == (1, False)
    office.staff.keep_spare(office.now + 1)     # not yet: nothing is tried
    office.refusal = None
    office.staff.keep_spare(office.now + SPARE_RETRY)
    assert office.staff.has_spare
    office.staff._spare = None      # it has taken a worker's place
    office.staff.keep_spare(office.now + SPARE_RETRY)
    assert office.staff.has_spare   # and the next one need not wait


def test_a_spare_takes_the_place_of_a_worker(office):
    office.all_ready()
    office.staff.keep_spare(office.now)
    office.started[0][1].status = -11
    office.turn()
    assert [module for module, *_ in office.started].count("forwarder.dataplane.worker") == 2
    assert office.heard(3) == ["start", "port", "port", "ports_sent"]
    assert not office.staff.has_spare


def test_a_spare_that_was_stopped_is_not_waited_for(office):
    """It only has to say that it has heard; one that does is given the time that a start takes."""
    office.all_ready()
    office.staff.keep_spare(office.now)
    office.started[0][1].status = -9
    office.turn()
    office.alive.remove(WORKER)
    office.turn(1.0)
    assert not office.started[3][1].killed
    office.turn(1.2)
    assert office.started[3][1].killed
    office.turn()
    assert [module for module, *_ in office.started][4:] == ["forwarder.dataplane.worker"]
    office.turn(5.0)
    assert not office.started[4][1].killed      # its imports take their time
    control.send(office.started[4][2], {"type": "ready"})
    office.alive.add(WORKER)
    office.turn()
    office.staff.keep_spare(office.now)
    office.started[4][1].status = -9
    office.turn()
    office.alive.remove(WORKER)
    control.send(office.started[5][2], {"type": "here"})
    for _ in range(10):
        office.turn(2.0)
    assert not office.started[5][1].killed


def test_a_child_that_never_begins_is_killed_and_replaced(office):
    office.alive.clear()
    for _ in range(int(START / 2) + 2):
        office.turn(2.0)
    assert office.started[0][1].killed
    assert len(office.started) > 3


def test_a_child_that_falls_silent_is_killed_but_not_while_we_were_frozen_ourselves(office):
    office.all_ready()
    office.alive.remove(AGENT)
    for _ in range(4):
        office.turn(2.0)
    office.turn(60.0)           # whoever stopped us may have stopped it
    assert not office.started[1][1].killed
    for _ in range(6):
        office.turn(2.0)
    assert office.started[1][1].killed
    assert not office.started[0][1].killed


def test_a_killed_child_of_which_the_kernel_does_not_let_go_holds_nobody_up(office, caplog):
    office.all_ready()
    office.alive.remove(AGENT)
    office.started[1][1].stubborn = True
    for _ in range(8):
        office.turn(2.0)
    assert office.started[1][1].killed
    assert len(office.started) == 3
    assert len([message for message in caplog.messages if "is killed" in message]) == 1
    office.started[1][1].status = -9
    office.turn()
    assert len(office.started) == 4
    office.started[3][1].stubborn = True
    office.staff.stop()


def test_what_is_no_message_is_a_fault_and_the_channel_stays(office):
    office.all_ready()
    api = office.started[2][2]
    for garbage in (b"{", b"[1]", b'{"type": 7}', b"\xff\xfe", b"x" * 100_000):
        api.send(garbage)
        office.turn()
    assert office.guard.faults == 5
    control.send(api, {"type": "reload", "id": 3})
    office.heard(2)
    office.turn()
    assert office.heard(2) == ["answer"]


NO_MEMORY = [errno.ENOBUFS, errno.ENOMEM, errno.EPERM]


def test_a_child_that_could_not_be_told_what_it_is_is_told_later_and_before_anything_else(office):
    office.all_ready()
    office.refused_at_start = {"sendmsg": list(NO_MEMORY)}
    office.started[1][1].status = -9
    office.turn()
    for _ in NO_MEMORY[1:]:
        assert office.heard(3) == []
        office.turn()
    office.turn()
    assert office.heard(3) == ["start", "port", "port", "ports_sent"]
    assert office.guard.faults == 1     # a queue that takes nothing now is none, but who may not send at all is


def test_an_api_that_could_not_be_told_what_it_is_is_told_later(office):
    office.channels[2].refused["sendmsg"] = [errno.ENOBUFS]
    for _ in range(3):
        office.staff.open_doors()
        office.turn()
    assert office.heard(2) == ["start"]


def test_a_child_that_could_not_be_listened_to_is_heard_later(office):
    office.all_ready()
    office.selector.refusals = 2
    office.started[2][1].status = -9
    office.turn()
    office.staff.open_doors()
    control.send(office.started[3][2], {"type": "ready"})
    office.turn()
    assert (office.guard.faults, office.staff.complete) == (2, False)
    for _ in range(2):
        office.turn()
    assert office.staff.complete
    assert office.heard(3) == ["start"]
    control.send(office.started[3][2], {"type": "reload", "id": 3})
    office.turn()
    assert office.heard(3) == ["answer"]


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN])
def test_what_a_child_says_while_there_is_no_memory_for_it_is_heard_later(office, number):
    office.channels[1].refused["recvmsg"] = [number] * 3
    office.all_ready()
    assert (office.guard.faults, office.staff.complete) == (1, False)
    for _ in range(3):
        office.turn()
    assert office.staff.complete


def test_a_port_that_could_not_be_lent_to_one_is_lent_to_the_others_and_later_to_it(office):
    office.all_ready()
    for at in range(3):
        office.heard(at)
    office.channels[0].refused["sendmsg"] = [errno.EPERM, errno.EPERM]
    office.staff.owe(2)
    office.staff.owe(3)
    office.turn()
    assert (office.heard(0), office.heard(1)) == ([], ["port", "port"])
    for _ in range(2):
        office.turn()
    assert (office.heard(0), office.heard(1), office.guard.faults) == (["port", "port"], [], 2)


def test_a_full_queue_takes_the_ports_later_and_all_of_them(office):
    office.all_ready()
    office.heard(1)
    for _ in range(3000):
        office.staff.owe(1)
    office.turn()
    first = len(office.heard(1))
    assert 0 < first < 3000
    heard = first
    for _ in range(3000 // first + 1):
        office.turn()
        heard += len(office.heard(1))
    assert (heard, office.guard.faults) == (3000, 0)


def test_faults_are_published(office):
    reader = SnapshotReader(office.shared.processes)
    assert reader.poll()["faults"] == 0
    office.guard.failed("trying", ValueError())
    office.turn()
    assert reader.poll()["faults"] == 1


def test_it_is_published_whether_ports_are_served_and_what_is_said_of_them(office):
    reader = SnapshotReader(office.shared.processes)
    said = reader.poll()
    assert (said["ready"], said["ring_memory"], said["ports"]) == (False, 0, [])
    office.all_ready()
    assert reader.poll()["ready"] is True
    office.turn()
    assert reader.poll() is None
    office.ports.changed, office.ports.ring_memory = 1, 1 << 20
    office.ports.said = [Standing(0, 1, 1 << 20)]
    office.turn()
    said = reader.poll()
    assert (said["ring_memory"], said["ports"]) == (1 << 20, [[0, 1, 1 << 20, None, None, None, False]])


def test_who_has_not_been_lent_a_port_is_known(office):
    office.all_ready()
    assert office.ports.waiting == {WORKER: frozenset(), AGENT: frozenset()}
    office.started[0][1].status = 1
    office.refusal = OSError(11, "no process")
    office.turn()
    assert office.ports.waiting == {WORKER: frozenset((0, 1)), AGENT: frozenset()}
    office.refusal = None
    office.turn(60.0)
    office.turn()
    assert office.ports.waiting == {WORKER: frozenset(), AGENT: frozenset()}


def test_a_fault_with_one_child_leaves_the_others_looked_after(office):
    office.all_ready()
    office.started[0][1].poll = lambda: 1 / 0
    office.started[1][1].status = 1
    office.turn()
    assert office.guard.faults == 1
    assert [module for module, *_ in office.started][3:] == ["forwarder.agent"]


@pytest.mark.parametrize(("status", "words"), [
    (0, "exit status 0"), (7, "exit status 7"), (-9, "killed by SIGKILL"), (-64, "killed by SIGRTMAX"),
    *((-number, f"killed by signal {number}") for number in range(35, 64)),
])  # fmt: skip
def test_every_end_has_words(status, words):
    assert describe(status) == words


def test_backing_off_has_no_end_of_numbers():
    child = Child("mcfwd-agent", "forwarder.agent", {}, dict, lambda: 0.0)
    for _ in range(3000):
        child.refused(0.0, OSError(11, "no"))
    assert child.not_before == LONGEST_BACKOFF
