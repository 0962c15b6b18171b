"""How mcfwd begins and ends: ready soon, small, known by its names, and clear about what it cannot do."""

import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from forwarder.lab import links
from forwarder.lab.capture import Capture, reported_groups
from forwarder.lab.kernel import kernel_routes
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.programs import Receiver, Sender

GROUP, OTHER = "239.1.1.1", "239.1.1.2"
READY_TIME = 10.0  # seconds; two are wanted, but the machine may be busy with other things
ANSWERED = 15.0  # seconds; a kernel host takes up to the query response interval, 10 s, to answer a query
LARGEST = 40 << 20  # octets of memory of one process's own, under load
IDLE = 100 << 20  # octets of all processes' own, the spare included, with three idle ports
UPSTREAM = ("[[interface]]", 'name = "up0"', 'role = "upstream"')


@pytest.fixture
def router(make_lab):
    return make_lab(1).router


def configuration(*interfaces: str) -> str:
    tables = [f'[[interface]]\nname = "{name}"\nrole = "downstream"\n' for name in interfaces]
    return "\n".join([*UPSTREAM, *tables])


def own_memory(pid: int) -> int:
    """Octets that only this process has mapped, its ring (a socket's memory) aside."""
    octets, mapping = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            mapping = words[5] if len(words) > 5 else ""
        elif words[0].startswith("Private_") and not mapping.startswith("socket:"):
            octets += int(words[1]) * 1024
    return octets


def test_it_is_ready_soon_and_then_forwards(lab, start_mcfwd, capsys):
    begun = time.monotonic()
    mcfwd = start_mcfwd(lab)
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"\nready after {took:.2f} s")
    assert took < READY_TIME
    assert [row["state"] for row in mcfwd.show("interfaces")] == ["up"] * 3
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
    assert mcfwd.stop() == 0
    assert "Traceback" not in mcfwd.read_log()


def test_processes_are_small(lab, start_mcfwd, capsys):
    mcfwd = start_mcfwd(lab)
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=2000):
        receiver.wait_received(2000)
        sizes = {name: own_memory(pid) for name, pid in mcfwd.pids.items()}
    with capsys.disabled():
        print("\nMiB of its own:", {name: round(size / (1 << 20), 1) for name, size in sizes.items()})
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}


def test_idle_processes_are_small_together(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    mcfwd.wait_for(lambda each: len(each.children()) == 4, READY_TIME, "a spare worker")
    mcfwd.wait_for(lambda each: "mcfwd-worker-sp" in each.children().values(), READY_TIME, "its imports done")
    assert sum(own_memory(pid) for pid in [mcfwd.process.pid, *mcfwd.children()]) <= IDLE


def test_processes_carry_their_names(lab, start_mcfwd):
    pids = start_mcfwd(lab).pids
    assert list(pids) == ["mcfwd", "mcfwd-worker-0", "mcfwd-agent", "mcfwd-api"]
    for name, pid in pids.items():
        assert Path(f"/proc/{pid}/comm").read_text().strip() == name
        assert Path(f"/proc/{pid}/cmdline").read_text().strip("\0 ") == name


# bad input


def test_an_unknown_interface_is_waited_for(lab, stack):
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0", "-d", "nowhere0"))
    assert mcfwd.interface("nowhere0")["state"] == "missing"
    assert "nowhere0 does not exist yet and will be waited for" in mcfwd.read_log()
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
    assert "Traceback" not in mcfwd.read_log()


def test_sixty_four_ports_can_be_named_beside_an_upstream(lab, stack):
    names = [*lab.downstreams, *(f"later{number}" for number in range(62))]
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", *(word for name in names for word in ("-d", name))))
    assert [row["name"] for row in mcfwd.show("interfaces")] == ["up0", *names]
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)


def test_kernel_routing_on_our_links_is_told(lab, stack, tmp_path):
    stack.enter_context(kernel_routes(lab, ["239.1.1.1"]))
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0"))
    assert "the kernel's multicast routing is in use on up0, down0 too" in mcfwd.read_log()


def test_what_check_warns_of_is_logged_at_the_start_and_after_a_reload(lab, stack, tmp_path):
    """More taps than ports, one of them down, an interface without an address and one that is missing."""
    file = tmp_path / "mcfwd.toml"
    file.write_text(configuration("tap*", "nowhere0") + "\n[dataplane]\nmax_ports = 4\n")
    for descriptor in [links.tun(lab.router, f"tap{number}", ethernet=True) for number in range(6)]:
        stack.callback(os.close, descriptor)
    links.up(lab.router, "tap0")
    links.delete_address(lab.router, "up0", "10.0.0.2/24")
    code, output = exit_code(lab.router, ["check", str(file)])
    warnings = [line.strip() for line in output.partition("warnings:\n")[2].splitlines()]
    assert code == 0
    cure = "raise max_ports in [dataplane], which is fixed at start"
    assert f"tap2, tap3, tap4, tap5 of tap* find no port: {cure}" in warnings
    assert len(warnings) >= 4
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
    assert [mcfwd.read_log().count(words) for words in warnings] == [1] * len(warnings)
    assert mcfwd.request("POST", "/v1/reload")[0] == 201
    assert [mcfwd.read_log().count(words) for words in warnings] == [2] * len(warnings)


def test_a_loopback_interface_can_never_work(router):
    code, output = exit_code(router, ["run", "-u", "up0", "-d", "lo"])
    assert code == 69
    assert "lo is a loopback interface" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[interface]\n", ["is not TOML"]),
        (configuration("down0") + "\ntreshold = 2\n", ["interface[1].treshold", "unknown key", "threshold"]),
        (configuration("up0"), ["up0", "two roles"]),
        (configuration("down0") + "\n[igmp]\nrobustness = 0\n", ["igmp.robustness", "at least 1"]),
    ],
    ids=["malformed", "unknown key", "overlapping roles", "out of range"],
)
def test_a_bad_file_is_refused_with_its_name_and_the_key(router, tmp_path, text, words):
    file = tmp_path / "mcfwd.toml"
    file.write_text(text)
    code, output = exit_code(router, ["run", "-c", str(file), "--socket", str(tmp_path / "s")])
    assert code == 78
    assert [word for word in [str(file), *words] if word not in output] == []
    assert "Traceback" not in output


def test_one_interface_in_two_roles_on_the_command_line_is_refused(router):
    code, output = exit_code(router, ["run", "-u", "up0", "-d", "up0"])
    assert code == 78
    assert "up0" in output
    assert "Traceback" not in output


# the control socket


def test_the_socket_of_a_live_instance_is_left_alone(lab, start_mcfwd):
    first = start_mcfwd(lab)
    code, output = exit_code(lab.router, ["run", "-u", "up0", "-d", "down0", "--socket", first.socket])
    assert (code, first.socket in output, "Traceback" in output) == (73, True, False)
    assert first.show("stats")["processes"]


def test_the_socket_of_a_dead_instance_is_replaced(lab, stack, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0", socket_path=path))
    assert mcfwd.show("stats")["processes"]


def test_a_file_where_the_socket_should_be_is_not_removed(router, tmp_path):
    file = tmp_path / "precious"
    file.write_text("mine")
    code, output = exit_code(router, ["run", "-u", "up0", "-d", "down0", "--socket", str(file)])
    assert (code, file.read_text(), "Traceback" in output) == (73, "mine", False)


def test_a_socket_that_cannot_be_made_is_said(router, tmp_path):
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "s")
    code, output = exit_code(router, ["run", "-u", "up0", "-d", "down0", "--socket", path])
    assert (code, path in output, "Traceback" in output) == (73, True, False)


def test_two_instances_in_one_namespace_serve_side_by_side(lab, stack):
    instances = [stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", port)) for port in lab.downstreams]
    receivers = [stack.enter_context(Receiver(each, GROUP)) for each in lab.receivers]
    for mcfwd, port in zip(instances, lab.downstreams, strict=True):
        mcfwd.wait_member(port, GROUP)
    with Sender(lab.source, GROUP, rate=1000, count=500) as sender:
        sender.wait(10.0)
    for receiver in receivers:
        report = receiver.wait_received(500)
        assert (report.total("lost"), report.total("duplicated")) == (0, 0)
    assert [mcfwd.stop() for mcfwd in instances] == [0, 0]


# the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_it_leaves_its_groups_and_its_socket(lab, start_mcfwd, number):
    mcfwd = start_mcfwd(lab)
    pids = mcfwd.pids
    with Capture(lab.source) as upstream, Receiver(lab.receivers[0], GROUP):
        mcfwd.wait_member("down0", GROUP)
        upstream.wait_for(lambda frame: GROUP in reported_groups(frame), 5.0)
        told = time.monotonic()
        assert mcfwd.stop(number=number) == 0
        leave = upstream.wait_for(lambda frame: GROUP in reported_groups(frame) and frame.time > told, 5.0)
        assert leave.payload[8:12] == b"\x03\0\0\0"  # CHANGE_TO_INCLUDE of nothing
    assert not Path(mcfwd.socket).exists()
    assert [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] == []
    assert "Traceback" not in mcfwd.read_log()


def test_its_children_do_not_survive_a_killed_supervisor(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab)
    pids = mcfwd.pids
    mcfwd.process.kill()
    mcfwd.process.wait()
    mcfwd.wait_for(lambda _: not any(running(pid) for pid in pids.values()), 5.0, "children gone")


def running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# reload


@pytest.fixture
def reloadable(make_lab, stack: ExitStack, tmp_path):
    """A lab with three receivers, mcfwd on the first two ports, and a function that reloads it with a new text."""
    lab, file = make_lab(3), tmp_path / "mcfwd.toml"
    file.write_text(configuration("down0", "down1"))
    mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))

    def reload(text: str, word: str) -> None:
        lines = mcfwd.read_log().count("reload")
        file.write_text(text)
        mcfwd.process.send_signal(signal.SIGHUP)
        mcfwd.wait_for(lambda _: word in "".join(mcfwd.read_log().split("reload")[lines + 1 :]), 5.0, f"{word} said")

    return lab, mcfwd, reload


def test_a_broken_file_leaves_the_running_configuration(reloadable):
    lab, mcfwd, reload = reloadable
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
        before = mcfwd.pids
        for text in ("[[interface]\n", configuration("down0", "up0"), configuration("lo")):
            reload(text, "refused, the running configuration stays")
        assert [row["name"] for row in mcfwd.show("interfaces")] == ["up0", "down0", "down1"]
        assert mcfwd.pids == before
        assert receiver.wait_received(receiver.report().total("received") + 1000).total("lost") == 0
    assert "Traceback" not in mcfwd.read_log()


def test_interfaces_come_and_go_by_reload_while_others_lose_nothing(reloadable):
    lab, mcfwd, reload = reloadable
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver(each, GROUP)) for each in lab.receivers]
        for port in ("down0", "down1"):
            mcfwd.wait_member(port, GROUP)
        before, indexes = mcfwd.pids, port_indexes(mcfwd)
        stack.enter_context(Sender(lab.source, GROUP, rate=5000))
        receivers[0].wait_received(500)
        reload(configuration("down0", "down2"), "ed")
        mcfwd.wait_member("down2", GROUP, ANSWERED)
        receivers[2].wait_received(500)
        mcfwd.wait_for(lambda _: set(port_indexes(mcfwd)) == {"up0", "down0", "down2"})
        assert mcfwd.group("down1", GROUP) is None
        still = receivers[1].settle().total("received")
        report = receivers[0].wait_received(receivers[0].report().total("received") + 5000)
        assert (report.total("lost"), report.total("duplicated")) == (0, 0)
        assert receivers[1].report().total("received") == still
        assert {name: port_indexes(mcfwd)[name] for name in ("up0", "down0")} == {
            name: indexes[name] for name in ("up0", "down0")
        }
        assert mcfwd.pids == before
    assert "Traceback" not in mcfwd.read_log()


def test_an_upstream_that_a_reload_takes_away_or_turns_round_leaves_its_groups(reloadable):
    """Its socket was closed before the leave was sent: the router went on sending for minutes."""
    lab, mcfwd, reload = reloadable
    lans = configuration("down0", "down1").replace("\n".join(UPSTREAM), "")
    began = 0.0

    with Capture(lab.source) as upstream, Receiver(lab.receivers[0], GROUP):
        def told(record: bytes, since: float) -> None:
            upstream.wait_for(lambda frame: GROUP in reported_groups(frame) and frame.payload[8:12] == record
                              and frame.time > since, ANSWERED)  # fmt: skip

        for later in (lans, configuration("down0", "down1").replace('"upstream"', '"downstream"')):
            told(b"\x04\0\0\0", began)     # CHANGE_TO_EXCLUDE of nothing
            began = time.monotonic()
            reload(later, "ed")
            told(b"\x03\0\0\0", began)      # CHANGE_TO_INCLUDE of nothing
            began = time.monotonic()
            reload(configuration("down0", "down1"), "ed")
    assert "Traceback" not in mcfwd.read_log()


def port_indexes(mcfwd: Mcfwd) -> dict[str, int]:
    return {row["name"]: row["index"] for row in mcfwd.show("interfaces")}


def test_what_is_fixed_at_start_is_said_to_need_a_restart(reloadable):
    _, mcfwd, reload = reloadable
    largest = mcfwd.show("stats")["ring_memory"]
    reload(configuration("down0", "down1") + '\n[dataplane]\nring_memory = "64MiB"\n', "ed")
    assert "need a restart" in mcfwd.read_log()
    assert mcfwd.show("stats")["ring_memory"] == largest


UNREAD = ("import fcntl, os, sys; reading, writing = os.pipe(); fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096); "
          "os.dup2(writing, 2); os.set_inheritable(reading, True); os.execvp(sys.argv[1], sys.argv[1:])")


def test_a_log_that_nobody_reads_holds_nothing_up(lab, start_mcfwd):
    """A pipe that is full, as behind Ctrl-S: requests, forwarding and the end go on as ever."""
    mcfwd = start_mcfwd(lab, prefix=(sys.executable, "-c", UNREAD))
    pids = mcfwd.pids
    for number in range(100):   # a line of the log each, 7 KiB together
        row = {"group": f"239.9.{number}.1", "interfaces": [lab.downstreams[0]]}
        assert mcfwd.request("POST", "/v1/routes", row) == (201, {})
    assert mcfwd.request("POST", "/v1/reload") == (201, {})
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
    assert mcfwd.pids == pids
    began = time.monotonic()
    assert mcfwd.stop() == 0
    assert time.monotonic() - began < READY_TIME


CLOSED = "import os, sys; os.closerange(0, 3); os.execvp(sys.argv[1], sys.argv[1:])"


def test_it_runs_without_standard_descriptors(lab, start_mcfwd):
    mcfwd = start_mcfwd(lab, prefix=(sys.executable, "-c", CLOSED))
    with Receiver(lab.receivers[0], GROUP) as receiver, Sender(lab.source, GROUP, rate=1000):
        receiver.wait_received(100)
    for pid in mcfwd.pids.values():
        assert [Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)] == [Path("/dev/null")] * 3
    assert mcfwd.stop() == 0


def test_children_take_no_modules_from_the_directory_they_are_started_in(lab, start_mcfwd, tmp_path):
    """Whoever may write there would run as we do."""
    (tmp_path / "ctypes.py").write_text("raise SystemExit('this is not the module')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is not the module')")
    script = "import os, sys; os.chdir(sys.argv[1]); os.execvp(sys.argv[2], [sys.argv[2], '-P', *sys.argv[3:]])"
    ours = {"PYTHONPATH": str(Path(__file__).parents[2])}
    mcfwd = start_mcfwd(lab, prefix=(sys.executable, "-c", script, str(tmp_path)), environment=ours)
    assert {os.readlink(f"/proc/{pid}/cwd") for name, pid in mcfwd.pids.items() if name != "mcfwd"} == {"/"}
    assert "this is not the module" not in mcfwd.read_log()
