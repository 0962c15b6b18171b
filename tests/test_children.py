"""A child as the supervisor starts it: its interpreter, what it finds around it, how it ends and what is said then."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forwarder.process import control
from forwarder.supervisor.children import SHORT_LIFE, STALL, START, Child, Process

ROOT = Path(__file__).parent.parent


@pytest.fixture
def process():
    started = Process.start("forwarder.agent", os.getpid(), 3)
    yield started
    started.kill()


def test_a_started_child_waits_for_its_channel_and_ends_with_it(process):
    pid = process.popen.pid
    assert os.getpriority(os.PRIO_PROCESS, os.getpid()) <= os.getpriority(os.PRIO_PROCESS, pid)
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    process.channel.close()
    assert process.popen.wait(30.0) == 0


def test_a_child_that_is_killed_is_reaped_and_its_channel_closed(process):
    process.kill()
    assert process.popen.returncode == -9
    assert process.channel.fileno() == -1


PLACES = """
import os, sys
from forwarder.process.launch import environment
found = environment()
print(found["PYTHONPATH"], found["OPENBLAS_NUM_THREADS"], found["KEPT"])
"""


def test_a_child_finds_our_packages_and_those_of_its_caller_wherever_it_runs(tmp_path):
    (tmp_path / "near").mkdir()
    around = {**os.environ, "PYTHONPATH": f"near{os.pathsep}{ROOT}{os.pathsep}", "KEPT": "kept"}
    done = subprocess.run([sys.executable, "-c", PLACES], cwd=tmp_path, env=around, capture_output=True, text=True)
    assert done.stdout.split() == [os.pathsep.join([str(ROOT), f"{tmp_path}/near", str(ROOT), ""]), "1", "kept"]


class Ended:
    """A process that has ended."""

    def __init__(self, status: int | None) -> None:
        self.status = status

    def poll(self) -> int | None:
        return self.status


def child(heartbeat: float = 0.0) -> Child:
    return Child("mcfwd-agent", "forwarder.agent", {"index": 7}, dict, lambda: heartbeat)


def test_nobody_is_told_nothing():
    assert child().send({"type": "stop"}) is False


def test_a_child_is_told_what_it_is(process):
    told = child()
    told.adopt(process, 10.0)
    assert [told.begun, told.told, told.here, told.ready, told.killed, told.waited] == [False] * 6
    assert told.begin("info") is True
    assert told.begun
    process.channel.settimeout(30.0)
    assert control.receive(process.channel) == ({"type": "here"}, {})


def test_an_end_is_said_with_what_happens_next(caplog):
    told, now = child(), 100.0
    for _ in range(4):
        told.adopt(Process(Ended(1), None), now)
        assert told.reap(now + 1.0) == 1
        assert told.process is None
        now += 50.0
    assert [message.split("; ")[1] for message in caplog.messages] == [
        "starting it again now", "starting it again now", "starting it again in 0.5 s", "starting it again in 1 s",
    ]  # fmt: skip
    assert caplog.messages[0] == "mcfwd-agent ended (exit status 1); starting it again now"
    assert told.restarts == 4
    assert told.reap(now) is None


def test_one_that_lives_has_not_ended():
    told = child()
    told.adopt(Process(Ended(None), None), 0.0)
    assert told.reap(1.0) is None
    assert told.process is not None


@pytest.mark.parametrize(("lived", "failures"), [(SHORT_LIFE - 0.5, 3), (SHORT_LIFE, 1), (SHORT_LIFE + 0.5, 1)])
def test_who_has_lived_long_enough_begins_anew(lived, failures):
    told = child()
    for each in (1.0, 1.0, lived):
        told.adopt(Process(Ended(1), None), 100.0)
        told.reap(100.0 + each)
    assert told.failures == failures


def test_silence_counts_from_the_last_sign_of_life_or_the_start_or_our_own_awakening():
    told = child(heartbeat=50.0)
    told.adopt(Process(Ended(None), None), 40.0)
    assert (told.silence(60.0, 0.0), told.silence(60.0, 55.0)) == (10.0, 5.0)
    told.adopt(Process(Ended(None), None), 58.0)
    assert told.silence(60.0, 0.0) == 2.0


def test_the_silence_that_is_borne_depends_on_what_was_said():
    told = child()
    told.adopt(Process(Ended(None), None), 100.0)
    assert not told.stalled(1e9, 0.0)       # it was not told anything yet
    told.begun = True
    assert not told.stalled(100.0 + START, 0.0)
    assert told.stalled(100.5 + START, 0.0)
    told.ready = True
    assert not told.stalled(100.0 + STALL, 0.0)
    assert told.stalled(100.5 + STALL, 0.0)
