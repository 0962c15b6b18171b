"""What crosses the control socket, and what a child may still do."""

import array
import ast
import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab.public import public_python
from forwarder.lab.wait import wait_for
from forwarder.process import control, launch, privileges
from forwarder.process.control import MAX_DESCRIPTORS, MAX_MESSAGE, MessageError

needs_user = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")
needs_python = pytest.mark.skipif(public_python() is None, reason="no Python of this version that any user may run")


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_descriptors_arrive_by_name(channel):
    ours, theirs = channel
    reading, writing = os.pipe()
    assert control.send(ours, {"type": "port", "port": 3}, {"ring": reading, "transmit": writing})
    message, descriptors = control.receive(theirs)
    assert message == {"type": "port", "port": 3}
    os.write(descriptors["transmit"], b"x")
    assert os.read(descriptors["ring"], 1) == b"x"
    for descriptor in (reading, writing, *descriptors.values()):
        os.close(descriptor)


def test_a_full_queue_is_said_not_waited_for(channel):
    ours, _ = channel
    said = [control.send(ours, {"type": "filler"}) for _ in range(100_000)]
    full = said.index(False)
    assert said[:full] == [True] * full
    assert said[full:] == [False] * (100_000 - full)


def test_the_end_of_the_other_side_is_none(channel):
    ours, theirs = channel
    ours.close()
    assert control.receive(theirs) is None


def test_an_end_with_messages_unread_is_none_too(channel):
    """A supervisor that dies has often just been told something."""
    ours, theirs = channel
    control.send(theirs, {"type": "ready"})
    ours.close()
    assert control.receive(theirs) is None


def test_nobody_there_to_hear_is_said_and_a_socket_that_is_none_is_an_error(channel):
    ours, theirs = channel
    theirs.close()
    assert control.send(ours, {"type": "ready"}) is False
    ours.close()
    with pytest.raises(OSError) as caught:
        control.send(ours, {"type": "ready"})
    assert caught.value.errno == errno.EBADF


def of_octets(count: int) -> dict[str, str]:
    """A message that is so long when it is sent."""
    return {"filler": "x" * (count - len('{"filler": "", "descriptors": []}'))}


def test_a_message_has_a_size_that_both_sides_hold(channel):
    ours, theirs = channel
    largest = of_octets(MAX_MESSAGE)
    assert MAX_MESSAGE == 65536
    assert control.send(ours, largest)
    assert control.receive(theirs) == (largest, {})
    with pytest.raises(MessageError, match="65537 octets and 0 descriptors"):
        control.send(ours, of_octets(MAX_MESSAGE + 1))


def test_so_many_descriptors_travel_with_a_message_and_no_more(channel):
    ours, theirs = channel
    lent = {f"{number}": ours.fileno() for number in range(MAX_DESCRIPTORS)}
    assert control.send(ours, {}, lent)
    _, descriptors = control.receive(theirs)
    assert list(descriptors) == list(lent)
    for descriptor in descriptors.values():
        os.close(descriptor)
    with pytest.raises(MessageError, match="251 descriptors"):
        control.send(ours, {}, {**lent, "more": ours.fileno()})


@pytest.mark.parametrize("octets", [
    b'{"filler": "' + b"x" * MAX_MESSAGE + b'", "descriptors": ["a", "b"]}',     # cut off by its length
    b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 30_000,
    b"{}", b'{"descriptors": ["a"]}', b'{"descriptors": ["a", "b", "c"]}', b'{"descriptors": 2}',
    b'{"descriptors": [["a"], "b"]}',
])  # fmt: skip
def test_what_is_no_message_is_said_and_leaves_nothing_open(channel, octets):
    """Two descriptors come with each; the next message can be received."""
    ours, theirs = channel
    pipes = [os.pipe() for _ in range(2)]
    send_raw(ours, octets, [writing for _, writing in pipes])
    for _, writing in pipes:
        os.close(writing)
    with pytest.raises(MessageError):
        control.receive(theirs)
    for reading, _ in pipes:
        assert is_closed(reading)
    control.send(ours, {"type": "port"})
    assert control.receive(theirs) == ({"type": "port"}, {})


def test_descriptors_that_were_cut_off_make_no_message(channel):
    ours, theirs = channel
    reading, writing = os.pipe()
    names = b", ".join(b'"%d"' % number for number in range(MAX_DESCRIPTORS))
    send_raw(ours, b'{"descriptors": [%s]}' % names, [writing] * (MAX_DESCRIPTORS + 3))     # all that the kernel takes
    os.close(writing)
    with pytest.raises(MessageError, match="cut off"):
        control.receive(theirs)
    assert is_closed(reading)


def send_raw(channel: socket.socket, octets: bytes, descriptors: list[int]) -> None:
    channel.sendmsg([octets], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def is_closed(reading: int) -> bool:
    """Whether nobody holds the other end of a pipe; closes this one."""
    os.set_blocking(reading, False)
    try:
        return os.read(reading, 1) == b""
    except BlockingIOError:
        return False
    finally:
        os.close(reading)


# --- a child ---

TESTS = Path(__file__).parent
NEWBORN = [sys.executable, "-P", "-m", "forwarder.process"]


def environment() -> dict[str, str]:
    """Of a process that finds the modules beside this one."""
    places = [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


@contextmanager
def newborn(parent: int = 0, nice: int = 0, **options):
    """A child that waits for its start, as the supervisor makes it, and our end of its channel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30.0)
    command = [*NEWBORN, str(nice), "newborn", str(theirs.fileno()), str(parent or os.getpid())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment(), text=True, **options)
    with ours, process:
        try:
            yield ours, process
        finally:
            process.kill()


def started(channel: socket.socket, **descriptors: int) -> dict:
    """What a child finds that is told to start."""
    message = {"type": "start", "name": "mcfwd-named", "log_level": "info", "more": [1]}
    assert control.send(channel, message, descriptors)
    assert control.receive(channel) == ({"type": "here"}, {})
    found, _ = control.receive(channel)
    return found


def test_a_child_becomes_what_it_is_told():
    reading, writing = os.pipe()
    os.write(writing, b"of a pipe")
    with newborn(nice=3, stderr=subprocess.PIPE) as (channel, process):
        wait_for(lambda: title(process.pid).startswith("mcfwd-newborn"), 30.0, "a name of its own")
        found = started(channel, reading=reading)
        assert title(process.pid).startswith("mcfwd-named")
        channel.close()
        _, said = process.communicate(timeout=30.0)
        assert process.returncode == 0
    program, number, parent = found["argv"]
    assert (program, parent) == (str(TESTS / "newborn.py"), str(os.getpid()))
    assert number.isdigit()
    assert found["title"] == "mcfwd-named"
    assert found["nice"] == min(os.nice(0) + 3, 19)
    assert found["ignored"] == [signal.SIGINT, signal.SIGHUP]
    assert found["ends with its parent"]
    assert found["arguments"] == {"type": "start", "name": "mcfwd-named", "log_level": "info", "more": [1]}
    assert found["content"] == {"reading": "of a pipe"}
    assert found["handlers"] == ["QueuedHandler"]
    assert said.endswith(" mcfwd-named INFO ready\n")
    for descriptor in (reading, writing):
        os.close(descriptor)


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_a_child_that_is_never_told_ends_in_peace():
    with newborn(stderr=subprocess.PIPE) as (channel, process):
        channel.close()
        assert (process.wait(30.0), process.stderr.read()) == (0, "")


PARENT = """
import os, subprocess, sys
channel = sys.argv[1]
command = [*sys.argv[2:], "0", "newborn", channel, str(os.getpid())]
child = subprocess.Popen(command, pass_fds=[int(channel)])
os.close(int(channel))
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("begun", [False, True])
def test_a_child_ends_with_its_parent_whether_it_has_begun_or_not(begun):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30.0)
    with ours, theirs:
        command = [sys.executable, "-c", PARENT, str(theirs.fileno()), *NEWBORN]
        parent = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, env=environment())
        theirs.close()
        if begun:
            started(ours)
        parent.communicate(timeout=30.0)
        assert control.receive(ours) is None


def test_a_child_whose_parent_has_ended_already_ends():
    with newborn(parent=1) as (_, process):
        assert process.wait(30.0) == -signal.SIGKILL


# --- privileges ---

ALONE = """
import ctypes, sys
from forwarder.process import privileges
def status():
    rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {key: int(rows[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")}
before = status()
def secured():
    return ctypes.CDLL(None).prctl(27, 0, 0, 0, 0)
bits, kept = secured(), eval(sys.argv[1])
try:
    privileges.keep_only(kept)
    problem = 0
except OSError as error:
    problem = error.errno
try:
    privileges.keep_only(0 if kept != 0 else 1)
except OSError as error:
    more = str(error)
known = range(int(open("/proc/sys/kernel/cap_last_cap").read()) + 1)
print([before, bits, problem, more, status(), secured(), [each for each in known if privileges.has_capability(each)]])
"""
SETPCAP = 8


@pytest.mark.parametrize("kept", [None, 0, 12, 13, 31, 32, 38])
def test_one_capability_is_kept_and_no_other_in_any_set(kept):
    """Where it was held: there is no way to others, now or by a program that is started. Else that is an error."""
    done = subprocess.run([sys.executable, "-c", ALONE, repr(kept)], capture_output=True, text=True, check=True)
    before, bits, problem, more, after, secured, said = ast.literal_eval(done.stdout)
    held = kept is None or before["CapPrm"] >> kept & 1
    assert problem == (0 if held else errno.EPERM)
    assert more == "[Errno 1] capset: Operation not permitted"
    if held:
        only = 0 if kept is None else 1 << kept
        assert after == {"CapInh": 0, "CapPrm": only, "CapEff": only, "CapAmb": 0, "NoNewPrivs": 1}
        assert said == ([] if kept is None else [kept])
    assert secured == (3 if before["CapEff"] >> SETPCAP & 1 else bits)     # uid 0 is nobody special, for good


def test_capabilities_are_told_as_the_kernel_tells_them():
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective, last = int(rows["CapEff"], 16), int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert [privileges.has_capability(each) for each in range(last + 1)] == [
        bool(effective >> each & 1) for each in range(last + 1)
    ]


def test_children_find_our_packages_when_the_directory_that_we_were_started_in_is_gone(tmp_path):
    """PYTHONPATH may name places relative to it."""
    place = tmp_path / "place"
    place.mkdir()
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); "
            "from forwarder.process.launch import environment; before = environment(); "
            "os.rmdir(os.getcwd()); print(environment() == before, before['PYTHONPATH'].split(os.pathsep)[-1])")
    path = filter(None, [os.environ.get("PYTHONPATH"), os.curdir])
    options = {"cwd": place, "env": {**os.environ, "PYTHONPATH": os.pathsep.join(path)}}
    result = subprocess.run([sys.executable, "-c", code, os.getcwd()], capture_output=True, text=True, **options)
    assert result.stdout == f"True {place}\n"


def test_a_child_has_our_environment_and_what_keeps_its_libraries_small(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    launch.environment.cache_clear()
    code = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['PATH'])"
    with launch.start(["-c", code], stdout=subprocess.PIPE) as child:
        assert child.communicate(timeout=20.0)[0].decode() == f"1 {os.environ['PATH']}\n"


def output_of(code: str) -> str:
    """What an interpreter prints that any user may run, where there is one."""
    python, environment = public_python() or (sys.executable, {})
    done = subprocess.run([python, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=60.0, check=False)  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@needs_user
@needs_python
def test_children_become_our_real_user_for_good_and_we_do_not(tmp_path):
    """Without a capability: we keep what is ours to read, they have nothing of it, and end when we say so."""
    (tmp_path / "secret").touch(0o600)
    code = f"""
import os, subprocess
from forwarder.process import launch, privileges
os.setgroups([0, 4])
privileges.lend(65534, 65533)
privileges.keep_only(None)
print(os.getresuid(), os.getresgid(), os.getgroups(), open({str(tmp_path / "secret")!r}).read())
code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), flush=True); os.read(0, 1)"
child = launch.start(["-c", code + "; import signal; signal.pause()"], stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="")
child.kill()
print(child.wait())
"""
    assert output_of(code).splitlines() == [
        "(65534, 0, 0) (65533, 0, 0) [] ", "(65534, 65534, 65534) (65533, 65533, 65533) []", "-9",
    ]  # fmt: skip


def test_where_there_is_one_user_no_other_is_asked_for():
    with launch.start(["-c", "import os; print(os.getresuid(), os.getcwd())"], stdout=subprocess.PIPE) as child:
        assert child.communicate()[0].decode().strip() == f"{os.getresuid()} /"


def test_nobody_may_look_into_a_child():
    code = ("import ctypes, os; from forwarder.process import privileges; privileges.shed(os.getppid()); "
            "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))")     # PR_GET_DUMPABLE
    assert output_of(code) == "0\n"


STANDARD = """
import os
from forwarder.process import launch
os.close(0)
os.close(2)
launch.open_standard_descriptors()
print([os.readlink(f"/proc/self/fd/{number}") for number in (0, 2)], os.get_inheritable(0), os.get_inheritable(2))
"""


def test_standard_descriptors_that_are_missing_are_opened():
    done = subprocess.run([sys.executable, "-c", STANDARD], capture_output=True, text=True, check=True)
    assert done.stdout == "['/dev/null', '/dev/null'] True True\n"


def test_a_channel_with_a_high_number_gets_a_low_one():
    """A worker that is started beside a thousand sockets of the supervisor's waits by select(2) all the same."""
    code = ("import fcntl, os, resource, select, socket; from forwarder.process.child import lowest; "
            "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1])); "
            "ours, theirs = socket.socketpair(); high = fcntl.fcntl(theirs.detach(), fcntl.F_DUPFD, 1500); "
            "low = lowest(high); ours.send(b'x'); print(select.select([low], [], [], 5.0)[0] == [low], low < 100); "
            "os.fstat(low); os.set_inheritable(low, True); os.fstat(high)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "True True\n"
    assert "Bad file descriptor" in result.stderr       # the high one is closed
