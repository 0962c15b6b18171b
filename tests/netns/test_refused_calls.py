"""The supervisor is refused every call that it makes once it is ready, once and for a while, and goes on.

Each with the errors that the kernel gives for it, and with every child killed at that very moment. refusals/refuse.c
says how.
"""

import errno
import os
import resource
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, product
from pathlib import Path

import pytest
from refusals.page import library
from refusals.rig import AGENT, API, SPARE, WORKER, Case, Rig

from bench.peers.daemon import missing

LANES = 4
NO_LOOK = "failed while looking at the links: OSError: [Errno 24] Too many open files"
STORM = 5000    # signals; the socket that wakes the supervisor holds less than 300
NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
ERRORS: dict[str, tuple[int, ...]] = {
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "exec": (errno.ENOMEM, errno.EAGAIN, errno.EACCES, errno.ENFILE),
    "socketpair": NONE_LEFT,
    "pipe": NONE_LEFT,
    "open": (*NONE_LEFT, errno.EACCES, errno.EINTR),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
    "epoll_wait": (errno.EINTR,),
    "sendmsg": (*NO_MEMORY, errno.EAGAIN, errno.ETOOMANYREFS, errno.EPERM, errno.EINTR),
    "recvmsg": (errno.ENOMEM, errno.EINTR),
    "recv": (errno.ENOMEM, errno.EINTR),
    "netlink_send": (*NO_MEMORY, errno.EPERM),
    "netlink_recv": (*NO_MEMORY, errno.EINTR),
    "socket": (*NONE_LEFT, errno.ENOBUFS, errno.EPERM),
    "setsockopt": (errno.ENOMEM, errno.EPERM, errno.ENOBUFS),
    "bind": (errno.ENOMEM, errno.ENODEV, errno.EINTR),
    "getsockname": (errno.ENOBUFS,),
    "memfd": NONE_LEFT,
}
"""By the calls that the supervisor makes once it is ready; eventfds are read and written too, which never fail so."""
MADE_BEFORE = ("spawn", "thread", "opendir", "eventfd", "epoll_create", "mmap")
FAULTS = {("sendmsg", errno.EPERM)} | {
    (call, error) for call in ("epoll_ctl", "recvmsg", "recv", "netlink_send") for error in ERRORS[call]
    if error != errno.EINTR
}  # fmt: skip
"""What it has no words for but those of its guard. EINTR is dealt with by Python."""
VICTIMS = ("", WORKER, AGENT, API, SPARE)
REPLACED = (AGENT, API, WORKER)     # whose successor has to be started; a worker's is the spare, and another spare


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    if reason := missing("cc", "gcc libc6-dev"):
        pytest.skip(reason)
    library()


def cases(errors: dict[str, tuple[int, ...]], often: Sequence[bool], victims: Sequence[str]) -> list[Case]:
    """Every combination; who is killed before goes around."""
    made, firsts = [], cycle(REPLACED)
    for (call, numbers), once, victim in product(errors.items(), often, victims):
        for number in numbers:
            first = next(each for each in firsts if each != victim)
            said = once and call == "epoll_ctl"     # the first such call is a reload's, which is refused in words
            made.append(Case((call,), number, once, first, victim, (call, number) in FAULTS and not said))
    return made


def attacked(directory: Path, wanted: Sequence[Case], patient: bool) -> list[str]:
    """What went wrong, case by case; after it the others go on in another rig."""
    left, failed = list(wanted), []
    while left:
        case, before = left[0], len(left)
        place = directory / str(before)
        place.mkdir(parents=True)
        try:
            with Rig(place, patient) as rig:
                descriptors = rig.descriptors()
                while left:
                    case = left.pop(0)
                    assert bool(rig.attack(case)) == case.made
                rig.assert_nothing_is_left(descriptors)
        except Exception as error:
            failed.append("\n".join([f"{case}: {error!r}", *getattr(error, "__notes__", ())]))
        if len(left) == before:
            break   # there was no rig to be had
    return failed


def assert_it_goes_on(directory: Path, wanted: Sequence[Case], patient: bool = False) -> None:
    lanes = [wanted[at::LANES] for at in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        found = [pool.submit(attacked, directory / f"lane{at}", lane, patient) for at, lane in enumerate(lanes)]
    failed = [each for lane in found for each in lane.result()]
    assert not failed, "\n\n".join(failed)


@pytest.mark.slow
def test_every_call_is_refused_for_a_while(tmp_path):
    one = {call: numbers[:1] for call, numbers in ERRORS.items()}
    wanted = [
        Case((call,), number, False, first, victim, (call, number) in FAULTS)
        for (call, [number]), victim, first in zip(one.items(), cycle(VICTIMS), cycle(REPLACED), strict=False)
    ]
    assert_it_goes_on(tmp_path, [*wanted, Case(MADE_BEFORE, errno.EMFILE, False, AGENT, made=False)])


def test_storms_of_signals_a_low_limit_and_files_that_are_none(tmp_path):
    with Rig(tmp_path) as rig:
        supervisor = rig.mcfwd.process.pid
        for number in (signal.SIGHUP, signal.SIGCHLD):
            for _ in range(STORM):
                os.kill(supervisor, number)
        with rig.plugged() as far:
            rig.assert_recovered(far)
        assert rig.reloads() < STORM / 10
        assert_a_limit_below_what_it_has_is_outlived(rig, supervisor)
        assert_what_is_no_file_is_refused(rig)
        rig.assert_nothing_is_left(rig.descriptors())


def assert_a_limit_below_what_it_has_is_outlived(rig: Rig, supervisor: int) -> None:
    limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (10, limits[1]))
    gone = [rig.kill(name) for name in REPLACED]
    with rig.plugged() as far:
        rig.mcfwd.wait_for(lambda _: f"{AGENT} cannot be started" in rig.mcfwd.read_log(), 20.0, "a start refused")
        rig.mcfwd.wait_for(lambda _: NO_LOOK in rig.mcfwd.read_log(), 20.0, "a look at the links refused")
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
        rig.assert_recovered(far, gone)


def assert_what_is_no_file_is_refused(rig: Rig) -> None:
    """At a reload; the running configuration stays."""
    text = rig.file.read_text()
    rig.file.unlink()
    for make, undo, words in (
        (lambda: None, lambda: None, "No such file or directory"),
        (rig.file.mkdir, rig.file.rmdir, "Is a directory"),
        (lambda: os.mkfifo(rig.file), rig.file.unlink, "whoever writes it did not finish within 2 s"),
        (lambda: rig.file.symlink_to("/dev/zero"), rig.file.unlink, "is larger than"),
        (lambda: rig.file.symlink_to(rig.file), rig.file.unlink, "Too many levels of symbolic links"),
    ):
        make()
        status, answer = rig.mcfwd.request("POST", "/v1/reload", {}, timeout=20.0)
        assert (status, words in answer["error"]) == (422, True), answer
        undo()
    rig.file.write_text(text)
    with rig.plugged() as far:
        rig.assert_recovered(far)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("once", [True, False])
def test_every_call_is_refused_with_every_error(tmp_path, once, victim):
    assert_it_goes_on(tmp_path, cases(ERRORS, [once], [victim]), patient=True)
