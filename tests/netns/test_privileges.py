"""What mcfwd may: CAP_NET_RAW in the supervisor alone, as any user, also in a user namespace of its own.

And who its children are: nobody, where mcfwd may give them that user and it can read what they run.
"""

import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from lacks import is_root
from pyroute2.netlink.exceptions import NetlinkError

from forwarder.lab import links
from forwarder.lab.mcfwd import NOBODY, Mcfwd, exit_code
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.public import public_python
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

GROUP = "239.1.1.1"
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
NET_RAW = 1 << 13
SUPERVISOR, CHILD = {(0, NET_RAW, NET_RAW, 0)}, {(0, 0, 0, 0)}
SETS_IDS = "-all,+net_raw,+setuid,+setgid"      # and neither CAP_KILL nor CAP_DAC_OVERRIDE
AS_IN_A_CONTAINER = ("setpriv", f"--inh-caps={SETS_IDS}", f"--bounding-set={SETS_IDS}", "--pdeathsig=TERM")
NO_NET_RAW = ("setpriv", "--inh-caps=-all", "--bounding-set=-net_raw")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=TERM")
IN_USER_NAMESPACE = (*AS_NOBODY, "unshare", "--user", "--map-root-user", "--net")


needs_user = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")
needs_python = pytest.mark.skipif(public_python() is None, reason="no Python of this version that any user may run")


def status(pid: int) -> dict[str, str]:
    """Fields of /proc/PID/status."""
    return status_of(Path(f"/proc/{pid}/status"))


def status_of(path: Path) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in path.read_text().splitlines())}


def capabilities(pid: int) -> set[tuple[int, ...]]:
    """The four sets of each thread; they are the threads' own."""
    return {tuple(int(fields[name], 16) for name in SETS) for fields in threads(pid)}


def name_of(pid: int) -> str:
    return status(pid)["Name"]


def threads(pid: int) -> list[dict[str, str]]:
    """Fields of the status of each thread."""
    return [status_of(task / "status") for task in Path(f"/proc/{pid}/task").iterdir()]


def complete(children: dict[int, str], unnamed: str) -> dict[int, str]:
    """All children there have to be, once each has a name of its own: it drops everything before it takes one."""
    return children if len(children) == 4 and unnamed not in children.values() else {}


def assert_only_the_supervisor_is_privileged(mcfwd: Mcfwd) -> None:
    supervisor = mcfwd.process.pid
    below = mcfwd.wait_for(lambda _: complete(mcfwd.children(), name_of(supervisor)), 10.0, "the spare")
    assert capabilities(supervisor) == SUPERVISOR
    assert [(name_of(pid), capabilities(pid)) for pid in below if capabilities(pid) != CHILD] == []
    assert {status(pid)["NoNewPrivs"] for pid in (supervisor, *below)} == {"1"}


def assert_children_are(mcfwd: Mcfwd, uid: int, gid: int) -> None:
    """All four, with all their threads and whatever their place in credentials(7); groups there are none."""
    assert_only_the_supervisor_is_privileged(mcfwd)
    for pid in mcfwd.children():
        for thread in threads(pid):
            assert [set(thread[key].split()) for key in ("Uid", "Gid", "Groups")] == [{str(uid)}, {str(gid)}, set()]


def assert_forwards(receiver: Namespace, source: Namespace) -> None:
    with Receiver(receiver, GROUP) as member, Sender(source, GROUP, rate=1000):
        assert member.wait_received(500, 10.0).total("altered") == 0


def test_children_of_root_hold_no_capability(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    assert_only_the_supervisor_is_privileged(mcfwd)
    pid = mcfwd.kill("mcfwd-agent")
    mcfwd.wait_replaced("mcfwd-agent", pid)
    assert_only_the_supervisor_is_privileged(mcfwd)


@needs_user
@needs_python
def test_it_runs_as_an_ordinary_user_with_net_raw_alone(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab, unprivileged=True)
    users = {status(pid)["Uid"].split()[0] for pid in mcfwd.pids.values()}
    assert users == {str(NOBODY)}
    assert_only_the_supervisor_is_privileged(mcfwd)
    assert_forwards(lab.receivers[0], lab.source)
    assert_stays(mcfwd, "nobody (uid 65534)", "CAP_SETUID and CAP_SETGID are missing")
    assert mcfwd.stop() == 0
    assert "Traceback" not in mcfwd.read_log()


@needs_user
@needs_python
def test_links_that_come_later_are_opened_as_an_ordinary_user(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab, unprivileged=True)
    links.delete(lab.router, "down0")
    lab.connect(0)
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["state"] == "up")
    assert_forwards(lab.receivers[0], lab.source)
    assert "Traceback" not in mcfwd.read_log()


CLASS = 0x10010         # of a queue with classes: what has it for its priority goes there


@needs_user
@needs_python
def test_igmp_has_any_priority_with_net_raw_alone(lab, stack):
    """Above 6, which takes a capability; a reload gives another to the socket that the agent holds."""
    index = links.index(lab.router, "down0")
    count_class(lab.router, index)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)
    file, ports = folder / "mcfwd.toml", ('-u', 'up0', '-d', 'down0')
    file.write_text(f"[igmp]\nigmp_priority = {CLASS}\n")
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file), *ports, unprivileged=True))
    wait_for(lambda: counted_of_class(lab.router, index) > 0, 10.0, "a query")
    for priority, counts in ((7, False), (CLASS, True)):
        file.write_text(f"[igmp]\nigmp_priority = {priority}\n")
        assert mcfwd.request("POST", "/v1/reload")[0] == 201
        before, sent = counted_of_class(lab.router, index), mcfwd.interface("down0")["igmp"]["tx_query_v3"]
        assert mcfwd.request("POST", "/v1/query", {})[1][0]["asked"]
        wait_for(lambda sent=sent: mcfwd.interface("down0")["igmp"]["tx_query_v3"] > sent, 10.0, "a query")
        assert (counted_of_class(lab.router, index) > before) is counts


def count_class(namespace: Namespace, index: int) -> None:
    """Count apart what leaves a link with the priority CLASS."""
    try:
        links.netlink(namespace, lambda ip: ip.tc("add", "htb", index, 0x10000, default=0x20))
    except NetlinkError as error:
        pytest.skip(f"no hierarchical token buckets here: {error}")
    links.netlink(namespace, lambda ip: ip.tc("add-class", "htb", index, CLASS, parent=0x10000, rate="100mbit"))


def counted_of_class(namespace: Namespace, index: int) -> int:
    counts = links.netlink(namespace, lambda ip: [
        each.get_attr("TCA_STATS")["bytes"] for each in ip.get_classes(index) if each["handle"] == CLASS])
    return sum(counts)


def wire(stack: ExitStack, router: Namespace) -> tuple[Namespace, Namespace]:
    """A source behind up0 and a receiver behind down0 of `router`."""
    ends = []
    for port, network in (("up0", "10.0.0"), ("down0", "192.168.10")):
        far = stack.enter_context(Namespace(f"behind {port}"))
        links.veth(router, port, far, LINK)
        for namespace, name, address in ((router, port, f"{network}.2/24"), (far, LINK, f"{network}.11/24")):
            links.add_address(namespace, name, address)
            links.up(namespace, name)
        links.wait_up(far, LINK)
        links.add_default_route(far, f"{network}.2")
        ends.append(far)
    return ends[0], ends[1]


@needs_user
@needs_python
def test_it_runs_in_a_user_namespace_that_an_ordinary_user_made(stack, tmp_path):
    if not allows_user_namespaces(stack):
        pytest.skip("this machine lets ordinary users make no user namespaces")
    python, environment = public_python()
    outside = stack.enter_context(Namespace("outside"))
    directory = tmp_path / "run"
    directory.mkdir()
    for path in (directory, *directory.parents[:3]):
        os.chmod(path, 0o755)
    os.chown(directory, NOBODY, NOBODY)
    mcfwd = stack.enter_context(
        Mcfwd(
            outside, "-u", "up0", "-d", "down0",
            prefix=IN_USER_NAMESPACE, python=python, environment=environment, socket_path=str(directory / "s"),
        )
    )  # fmt: skip
    supervisor = mcfwd.process.pid
    assert (status(supervisor)["Uid"].split()[0], user_namespace(supervisor) == user_namespace(os.getpid())) == (
        str(NOBODY),
        False,
    )
    router = stack.enter_context(Namespace.of(supervisor, "router"))
    source, receiver = wire(stack, router)
    mcfwd.wait_for(lambda _: {row["state"] for row in mcfwd.show("interfaces")} == {"up"}, 10.0, "ports up")
    assert_forwards(receiver, source)
    assert_stays(mcfwd, "root (uid 0)", "becoming that user as nobody is refused (Operation not permitted)")
    assert "Traceback" not in mcfwd.read_log()


def user_namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/user")


def allows_user_namespaces(stack: ExitStack) -> bool:
    with stack.enter_context(Namespace()).popen([*IN_USER_NAMESPACE, "true"]) as process:
        return process.wait(10.0) == 0


def test_without_net_raw_it_ends_with_the_words_that_grant_it(lab):
    code, output = exit_code(lab.router, ["run", "-u", "up0", "-d", "down0"], prefix=NO_NET_RAW)
    assert code == 77
    assert "CAP_NET_RAW is missing" in output
    for words in ("--cap-add NET_RAW", "AmbientCapabilities=CAP_NET_RAW", "setpriv --ambient-caps +net_raw"):
        assert words in output
    assert "Traceback" not in output


# who the children are


def account(name: str = "nobody") -> tuple[int, int]:
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


@pytest.fixture
def start_public(lab, start_mcfwd):
    """Starts mcfwd as root with a Python that any user may run."""
    python, environment = public_python() or pytest.skip("no Python of this version that any user may run")

    def start(*arguments, **options):
        return start_mcfwd(lab, *arguments, python=python, **{"environment": environment, **options})

    return start


@needs_user
@pytest.mark.parametrize("prefix", [(), AS_IN_A_CONTAINER], ids=["root", "NET_RAW, SETUID and SETGID"])
def test_children_of_root_are_nobody(lab, start_public, prefix):
    mcfwd = start_public(prefix=prefix)
    assert_children_are(mcfwd, *account())
    uids = {thread["Uid"] for thread in threads(mcfwd.process.pid)}
    assert uids == {"\t".join(map(str, (NOBODY, 0, 0, 0)))}     # real: whose processes it may end; effective: files
    assert "children run as nobody" in mcfwd.read_log()
    stats = mcfwd.show("stats")
    assert [row["user"] for row in stats["processes"]] == ["root", "nobody", "nobody", "nobody"]
    assert stats["user_kept"] is None
    assert_forwards(lab.receivers[0], lab.source)
    assert os.stat(mcfwd.socket).st_uid == os.stat(mcfwd.socket).st_gid == 0
    assert os.stat(mcfwd.socket).st_mode & 0o777 == 0o660
    assert mcfwd.stop() == 0
    assert not os.path.exists(mcfwd.socket)
    assert [words for words in ("Traceback", "failed while") if words in mcfwd.read_log()] == []


@needs_user
def test_whoever_takes_a_childs_place_is_nobody_too(lab, start_public):
    mcfwd = start_public(prefix=AS_IN_A_CONTAINER)
    for name in ("mcfwd-worker-0", "mcfwd-agent", "mcfwd-api"):
        mcfwd.wait_replaced(name, mcfwd.kill(name))
        assert_children_are(mcfwd, *account())
    links.delete(lab.router, "down0")
    lab.connect(0)
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["state"] == "up")
    assert_forwards(lab.receivers[0], lab.source)


@pytest.mark.slow
@needs_user
def test_a_child_of_another_user_that_stands_still_is_killed(start_public):
    mcfwd = start_public(prefix=AS_IN_A_CONTAINER)
    children = mcfwd.wait_for(lambda _: complete(mcfwd.children(), "mcfwd"), 10.0, "the spare")
    pid = mcfwd.kill("mcfwd-worker-0", signal.SIGSTOP)
    mcfwd.wait_replaced("mcfwd-worker-0", pid)
    assert_gone([pid])
    children = mcfwd.wait_for(lambda _: complete(mcfwd.children(), "mcfwd"), 10.0, "the spare")
    mcfwd.kill("mcfwd-agent", signal.SIGSTOP)
    assert mcfwd.stop() == 0
    assert_gone(children)
    assert "failed while" not in mcfwd.read_log()


@needs_user
def test_children_of_another_user_end_with_the_supervisor(start_public, stack, lab):
    mcfwd = start_public(prefix=AS_IN_A_CONTAINER)
    children = mcfwd.wait_for(lambda _: complete(mcfwd.children(), "mcfwd"), 10.0, "the spare")
    mcfwd.stop(number=signal.SIGKILL)
    assert_gone(children)
    assert os.path.exists(mcfwd.socket)
    again = start_public(prefix=AS_IN_A_CONTAINER, socket_path=mcfwd.socket)
    assert_children_are(again, *account())
    assert again.stop() == 0
    assert not os.path.exists(mcfwd.socket)


@needs_user
def test_what_only_root_can_read_is_reloaded(lab, start_public, tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.touch(0o600)
    tmp_path.chmod(0o700)
    file.write_text('[[interface]]\nname = "down1"\nthreshold = 3\n')
    mcfwd = start_public("-c", str(file), prefix=AS_IN_A_CONTAINER)
    file.write_text('[process]\nuser = "daemon"\n')
    os.kill(mcfwd.process.pid, signal.SIGHUP)
    mcfwd.wait_for(lambda _: "reloaded" in mcfwd.read_log(), 5.0, "the reload")
    assert "[process] are fixed at start" in mcfwd.read_log()
    assert mcfwd.request("POST", "/v1/reload", {})[0] == 201
    mcfwd.wait_replaced("mcfwd-agent", mcfwd.kill("mcfwd-agent"))
    assert_children_are(mcfwd, *account())


@needs_user
def test_another_user_can_be_named_or_none(start_public, tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text('[process]\nuser = "daemon"\n')
    mcfwd = start_public("-c", str(file))
    assert_children_are(mcfwd, *account("daemon"))
    assert mcfwd.stop() == 0
    file.write_text('[process]\nuser = ""\n')
    mcfwd = start_public("-c", str(file))
    assert {status(pid)["Uid"] for pid in mcfwd.pids.values()} == {"0\t0\t0\t0"}
    assert_stays(mcfwd, "root (uid 0)", "[process] has an empty user")


@needs_user
def test_packages_that_the_user_cannot_read_leave_the_children_root(lab, start_public, tmp_path):
    """As in a virtual environment below a home directory."""
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    for package in ("forwarder", "igmp"):
        (closed / package).symlink_to(Path(__file__).parents[2] / package)
    path = os.pathsep.join([str(closed), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    mcfwd = start_public(environment={"PYTHONPATH": path}, prefix=("env", "--chdir=/"))
    file = closed / "forwarder/process/user.py"
    assert_stays(mcfwd, "root (uid 0)", f"nobody cannot run what a child runs (PermissionError: [Errno 13] Permission "
                                        f"denied: '{file}')")  # fmt: skip
    assert_forwards(lab.receivers[0], lab.source)


@needs_user
def test_an_interpreter_that_the_user_cannot_execute_leaves_the_children_root(lab, start_mcfwd, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    python = closed / "python"
    python.symlink_to(sys.executable)
    (closed / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    places = os.pathsep.join(filter(None, sys.path))
    mcfwd = start_mcfwd(lab, python=str(python), environment={"PYTHONPATH": places})
    assert_stays(mcfwd, "root (uid 0)", f"executing {python} as nobody is refused (Permission denied)")


@needs_user
def test_no_process_of_their_user_can_look_into_children(start_public):
    """The packet sockets that they are lent would be anybody's otherwise."""
    mcfwd = start_public()
    code = "import os, sys; [os.listdir(f'/proc/{pid}/fd') for pid in sys.argv[1:2]]"
    for pid in (os.getpid(), mcfwd.process.pid, *mcfwd.children()):
        command = [*AS_NOBODY, "/usr/bin/python3", "-c", code, str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20.0, check=False)
        assert "PermissionError" in done.stderr


@needs_user
def test_the_trial_takes_no_standard_descriptor_that_is_missing(lab, start_public):
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    mcfwd = start_public(prefix=closed)
    assert_children_are(mcfwd, *account())
    assert_forwards(lab.receivers[0], lab.source)
    for pid in (mcfwd.process.pid, *mcfwd.children()):
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}


def assert_gone(pids) -> None:
    wait_for(lambda: not any(map(lives, pids)), 10.0, f"the end of {pids}")


def lives(pid: int) -> bool:
    """Whether it has not ended; who has to reap it may take its time."""
    try:
        return not status(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_stays(mcfwd: Mcfwd, who: str, reason: str) -> None:
    assert_only_the_supervisor_is_privileged(mcfwd)
    [line] = [line for line in mcfwd.read_log().splitlines() if "children stay" in line]
    assert f"children stay {who}, without capabilities: " in line
    assert reason in line
    assert reason in mcfwd.show("stats")["user_kept"]
