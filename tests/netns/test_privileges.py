"""What mcfwd may: CAP_NET_RAW in the supervisor alone, as any user, also in a user namespace of its own."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab import links
from forwarder.lab.mcfwd import NOBODY, Mcfwd, exit_code, public_python
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK

GROUP = "239.1.1.1"
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
NET_RAW = 1 << 13
SUPERVISOR, CHILD = (0, NET_RAW, NET_RAW, 0), (0, 0, 0, 0)
NO_NET_RAW = ("setpriv", "--inh-caps=-all", "--bounding-set=-net_raw")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=TERM")
IN_USER_NAMESPACE = (*AS_NOBODY, "unshare", "--user", "--map-root-user", "--net")


needs_user = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")
needs_python = pytest.mark.skipif(public_python() is None, reason="no Python of this version that any user may run")


def status(pid: int) -> dict[str, str]:
    """Fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def capabilities(pid: int) -> tuple[int, ...]:
    fields = status(pid)
    return tuple(int(fields[name], 16) for name in SETS)


def name_of(pid: int) -> str:
    return status(pid)["Name"]


def complete(children: dict[int, str], unnamed: str) -> dict[int, str]:
    """All children there have to be, once each has a name of its own: it drops everything before it takes one."""
    return children if len(children) == 4 and unnamed not in children.values() else {}


def assert_only_the_supervisor_is_privileged(mcfwd: Mcfwd) -> None:
    supervisor = mcfwd.process.pid
    below = mcfwd.wait_for(lambda _: complete(mcfwd.children(), name_of(supervisor)), 10.0, "the spare")
    assert capabilities(supervisor) == SUPERVISOR
    assert [(name_of(pid), capabilities(pid)) for pid in below if capabilities(pid) != CHILD] == []
    assert {status(pid)["NoNewPrivs"] for pid in (supervisor, *below)} == {"1"}


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
    assert_only_the_supervisor_is_privileged(mcfwd)
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
