"""`mcfwd doctor` on real links: what is provoked is found, and gone after the command that its remedy names."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.command.doctor import _configured
from forwarder.command.examining.gathering import gather
from forwarder.command.examining.instance import asked
from forwarder.diagnosis.doctor.examination import examine
from forwarder.diagnosis.doctor.finding import status
from forwarder.lab import links
from forwarder.lab.mcfwd import NOBODY, Mcfwd, exit_code
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver
from forwarder.lab.public import public_python
from forwarder.lab.wait import wait_for
from netns.frames import Injector, udp
from netns.test_memory import group as group
from netns.test_privileges import NO_NET_RAW, needs_python, needs_user

NOWHERE = "/no/such/socket"
MIB = 1 << 20
SOON = 20.0
QUIET = subprocess.DEVNULL
THREAD = {"net": "thread-self/net", "self": "thread-self", "sys": "sys", "meminfo": "meminfo"}     # below /proc
FILE = """
[[interface]]
name = "up0"
role = "upstream"
{altnets}
[[interface]]
name = "down0"
{anyway}
[[interface]]
name = "down1"
static_groups = ["239.1.1.1", "239.1.1.2", "239.1.1.3"]
"""


def told(namespace, *arguments):
    """Exit status and findings of the command, where no instance answers."""
    code, output = exit_code(namespace, ["doctor", "--json", "--socket", NOWHERE, *arguments])
    return code, json.loads(output)


def examined(namespace, *arguments, at=NOWHERE):
    """The same without a process of its own, of which there would be dozens; other processes are not looked at."""
    return namespace.run(_examined, arguments, at)


def _examined(arguments, at):
    named = [list(each) for each in batched(arguments)]
    upstream, downstream = ([name for option, name in named if option == each] for each in ("-u", "-d"))
    file = next((Path(name) for option, name in named if option == "-c"), None)
    settings, problems = _configured(file, upstream, downstream, at)
    with tempfile.TemporaryDirectory() as name:
        proc = Path(name)       # as this thread sees it: /proc/net is that of the whole process
        for entry, place in THREAD.items():
            (proc / entry).symlink_to(f"/proc/{place}")
        found = examine(gather(settings, problems, asked(at), proc))
    return status(found), [each.to_json() for each in found]


def batched(words):
    return zip(words[::2], words[1::2], strict=True)


def of(found, fragment):
    """The finding whose words have this, None for none; there is no second one."""
    fitting = [each for each in found if fragment in f"{each['subject']}: {each['words']}"]
    assert len(fitting) <= 1, fitting
    return fitting[0] if fitting else None


def treat(namespace, finding, **values):
    """Run exactly the command that the finding names; placeholders are given a value, as people would."""
    command = finding["remedy"]
    for name, value in values.items():
        command = command.replace(name, value)
    namespace.command("sh", "-euc", command)


def cured(namespace, arguments, fragments, at=NOWHERE, rounds=1, **values):
    """All of these are found, a round after the other; after their commands none is."""
    missing = list(fragments)
    for _ in range(rounds):
        _, found = examined(namespace, *arguments, at=at)
        now = [fragment for fragment in missing if of(found, fragment)]
        for fragment in now:
            treat(namespace, of(found, fragment), **values)
        missing = [fragment for fragment in missing if fragment not in now]
    assert missing == []
    _, found = examined(namespace, *arguments, at=at)
    assert [fragment for fragment in fragments if of(found, fragment)] == []
    return found


def without(*programs):
    return [each for each in programs if not shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]


def needs(*programs):
    missing = without(*programs)
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def ended(process):
    if process.poll() is None:
        process.kill()
        process.wait(SOON)


# --- links ---


@needs("ip", "ethtool")
def test_links_are_mended_by_the_commands(lab):
    """Rounds, since what is behind another obstacle is said when that one is gone."""
    router = lab.router
    links.bridge(router, "br0", ["down0"])
    links.macvlan(router, "mv0", "down1")
    links.down(router, "down1")
    links.delete_address(router, "up0", "10.0.0.2/24")
    links.veth(router, "lan0", router, "lan0p")
    links.bridge(router, "br9", ["lan0p"])
    links.macvlan(router, "apart0", "up0", "private")
    for name, address in (("lan0", "10.5.0.1/24"), ("apart0", "10.6.0.1/24")):
        links.add_address(router, name, address)
    for name in ("lan0", "lan0p"):
        links.up(router, name)
    links.wait_up(router, "lan0")
    router.command("ethtool", "-K", "up0", "gro", "on")
    router.command("ethtool", "-K", "down1", "tx-udp-segmentation", "off")
    arguments = ["-u", "up0", "-u", "lan0", "-d", "down0", "-d", "down1", "-d", "apart0", "-d", "gone0"]
    code, found = examined(router, *arguments)
    assert code == 2
    assert found[0]["severity"] == "error"
    assert of(found, "gone0 does not exist")["remedy"].startswith("make it, or name one that exists: ")
    cured(router, arguments, [
        "down0 is a port of the bridge br0", "down1 is down", "up0 has no IPv4 address",
        "bridge br9, on the path of lan0,", "apart0 is a macvlan of mode private",
        "that up0 receives", "down1 could segment UDP itself",
    ], rounds=2, **{"ADDRESS/PREFIX": "10.0.0.2/24"})  # fmt: skip
    _, found = examined(router, *arguments)
    treat(router, of(found, "down1 carries the macvlan mv0"))
    _, found = examined(router, "-u", "up0", "-d", "mcfwd-down1")
    assert of(found, "down1 carries the macvlan") is None


def test_a_link_with_nothing_at_its_other_end_is_told_until_there_is(lab):
    links.down(lab.receivers[0], "eth0")
    wait_for(lambda: links.attribute(lab.router, "down0", "IFLA_OPERSTATE") != "UP", SOON, "no carrier")
    code, found = examined(lab.router, "-u", "up0", "-d", "down0")
    assert code == 1
    assert of(found, "nothing at its other end")["subject"] == "down0"
    links.up(lab.receivers[0], "eth0")
    links.wait_up(lab.router, "down0")
    code, found = examined(lab.router, "-u", "up0", "-d", "down0")
    assert (code, of(found, "nothing at its other end")) == (0, None)


# --- filters, limits and programs ---


RULES = """
table ip filter {
    chain input { type filter hook input priority 0; policy drop; ip daddr 239.0.0.0/8 counter drop; }
}
table netdev guard {
    chain up { type filter hook ingress device "up0" priority 0; udp dport 9 drop; }
    chain down { type filter hook ingress device "down1" priority 0; counter; }
}
"""


def connected(namespace: Namespace, address: str, group: str) -> socket.socket:
    made = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    made.connect((group, 5000))
    return made


@pytest.mark.skipif(not is_root(), reason="the commands write below /proc/sys, which is root's")
@needs("ip", "nft", "tc", "sysctl")
def test_filters_limits_and_programs_are_mended_by_the_commands(lab, tmp_path):
    router, here = lab.router, ["-u", "up0", "-d", "down0", "-d", "down1"]
    rules = tmp_path / "rules"
    rules.write_text(RULES)
    router.command("nft", "-f", str(rules))
    router.command("tc", "qdisc", "add", "dev", "down1", "clsact")
    router.command("tc", "filter", "add", "dev", "down1", "egress", "protocol", "ip", "u32", "match", "ip", "dst",
                   "239.9.9.9/32", "action", "mirred", "egress", "redirect", "dev", "lo")  # fmt: skip
    router.sysctl("ipv4/conf/up0/rp_filter", 1)
    sending = connected(router, "192.168.20.1", "239.5.5.5")
    with sending, Receiver(router, "239.1.1.1", interface="down0"), Receiver(router, "239.1.1.2", interface="up0"):
        router.sysctl("ipv4/igmp_max_memberships", 1)
        code, found = examined(router, *here)
        assert code == 1
        assert of(found, "chain netdev guard down (ingress) on down1")["severity"] == "note"
        fragments = ["policy drop, and no rule accepts", "239.0.0.0 drop", "rule netdev guard up", "filter of tc (u32)",
                     "up0 takes only sources", "joined 1 groups or more"]  # fmt: skip
        cured(router, here, fragments)
        _, found = examined(router, *here)
        assert of(found, "sends 239.5.5.5:5000 from the address of down1")
        treat(router, of(found, "has joined 239.1.1.1"))        # the recipe mends both
        _, found = examined(router, *here, "-d", "mcfwd0")
        assert of(found, "has joined 239.1.1.1")["remedy"].startswith("have it use local0")
        assert of(found, "mcfwd0 has no IPv4 address") is None
    links.wait_up(router, "local0")
    with connected(router, "192.168.77.1", "239.5.5.5"), Receiver(router, "239.1.1.1", interface="local0"):
        _, found = examined(router, *here, "-d", "mcfwd0")
        assert of(found, "a program of this host") is None


@pytest.mark.skipif(not is_root(), reason="the commands write below /proc/sys, which is root's")
@needs("sysctl")
def test_a_kernel_that_has_no_memory_for_filters_is_mended_by_the_command(lab):
    try:
        lab.router.sysctl("core/optmem_max", 256)
    except OSError:
        pytest.skip("net.core.optmem_max is that of the machine here")
    found = cured(lab.router, ["-u", "up0", "-d", "down0"], ["net.core.optmem_max: it is 256"])
    assert of(found, "was refused") is None


# --- other forwarders ---


@needs("ip", "igmpproxy")
def test_a_daemon_and_another_instance_are_ended_by_the_commands(lab, stack, tmp_path):
    file = tmp_path / "igmpproxy.conf"
    file.write_text("phyint up0 upstream ratelimit 0 threshold 1\nphyint down0 downstream ratelimit 0 threshold 1\n"
                    "phyint down1 disabled\n")  # fmt: skip
    here = ["-u", "up0", "-d", "down0"]
    daemon = lab.router.popen(["igmpproxy", "-n", str(file)], stdout=QUIET, stderr=QUIET)
    stack.callback(ended, daemon)
    wait_for(lambda: "down0" in lab.router.read_proc("ip_mr_vif"), SOON, "the kernel's routing in use")
    code, found = told(lab.router, *here)
    kernel = of(found, "the kernel's multicast routing is in use on")
    assert code == 1
    assert of(found, f"igmpproxy routes multicast here too (process {daemon.pid})")
    _, elsewhere = examined(lab.router, "-d", "down1")
    assert of(elsewhere, "none of them ours")["severity"] == "note"
    treat(lab.router, kernel)
    daemon.wait(SOON)
    _, found = told(lab.router, *here)
    assert of(found, "igmpproxy") is of(found, "multicast routing") is None

    other = stack.enter_context(Mcfwd(lab.router, "-u", "up0", "-d", "down0"))
    _, found = told(lab.router, *here)
    treat(lab.router, of(found, "another mcfwd serves down0 already"))
    assert other.process.wait(SOON) == 0
    _, found = examined(lab.router, *here)
    assert of(found, "another mcfwd") is None


# --- a running instance ---


def test_what_an_instance_sees_is_told_until_it_is_mended(lab, stack, tmp_path):
    """The other querier is a second mcfwd, which has the lower address."""
    router, file = lab.router, tmp_path / "mcfwd.toml"
    links.delete_address(router, "down0", "192.168.10.1/24")
    links.add_address(router, "down0", "192.168.10.200/24")
    file.write_text(FILE.format(altnets="altnets = []", anyway=""))
    mcfwd = stack.enter_context(Mcfwd(router, "-c", str(file)))
    assert mcfwd.request("POST", "/v1/query")[0] == 200
    stack.enter_context(Mcfwd(lab.receivers[0], "-u", "none0", "-d", "eth0"))
    injector = stack.enter_context(Injector(lab.source))
    injector.send(udp("10.0.0.1", "239.1.1.1", ttl=1), udp("172.16.3.4", "239.1.1.2", ttl=9))
    here = ["-c", str(file)]

    def rows():
        verdicts = {row["verdict"] for row in mcfwd.show("flows")}
        return {"ttl_expired", "source_not_allowed"} <= verdicts and mcfwd.interface("down0")["querier"] is False

    mcfwd.wait_for(lambda _: rows(), SOON, "flows and the election")
    code, found = examined(router, *here, at=mcfwd.socket)
    assert code == 1
    assert of(found, "10.0.0.1 sends 239.1.1.1 with TTL 1")
    lost = of(found, "192.168.10.11 is the querier on down0")["remedy"].partition(" in [[")[0]
    altnets = of(found, "172.16.3.4 sends 239.1.1.2 by up0")["remedy"].partition(" in [[")[0]

    file.write_text(FILE.format(altnets=altnets, anyway=lost))
    assert mcfwd.request("POST", "/v1/reload")[0] in (200, 201)
    injector.send(udp("10.0.0.1", "239.1.1.1", ttl=2), udp("172.16.3.4", "239.1.1.2", ttl=9))
    mcfwd.wait_for(lambda _: {row["verdict"] for row in mcfwd.show("flows")} == {"forward"}, SOON, "both forwarded")
    code, found = examined(router, *here, at=mcfwd.socket)
    assert [of(found, each) for each in ("with TTL 1", "is the querier on", "none of its altnets")] == [None] * 3
    assert code == 0

    links.down(router, "down1")     # without a file the interfaces are those of the instance
    mcfwd.wait_for(lambda _: mcfwd.interface("down1")["state"] == "down", SOON, "down")
    cured(router, [], ["down1 is down"], at=mcfwd.socket)

    stopped = mcfwd.pids["mcfwd-api"]
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    code, found = examined(router, *here, at=mcfwd.socket)
    assert (code, bool(of(found, "no answer from the instance"))) == (2, True)
    assert time.monotonic() - began < SOON
    os.kill(stopped, signal.SIGCONT)
    code, found = examined(router, *here, at=mcfwd.socket)
    assert of(found, "no answer from the instance") is None


# --- who asks ---


@needs_user
@needs_python
def test_who_lacks_the_capability_is_told_how_to_get_it(lab):
    python, environment = public_python()
    run = [python, "-m", "forwarder"]
    ordinary = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    doctor = ["doctor", "--json", "--socket", NOWHERE, "-u", "up0", "-d", "down0"]

    def answer(argv):
        with lab.router.popen(argv, env=os.environ | environment, stdout=subprocess.PIPE, stderr=QUIET) as it:
            output, _ = it.communicate(timeout=SOON)
        return it.returncode, json.loads(output)

    code, found = answer([*ordinary, *run, *doctor])
    assert code == 2
    missing = of(found, "CAP_NET_RAW is missing here")
    assert of(found, "was not asked, which takes CAP_NET_RAW")["severity"] == "note"
    words = missing["remedy"].partition("   #")[0].split()
    assert words[-2:] == ["mcfwd", "run"]
    code, found = answer([*words[:-2], *run, *doctor])
    assert (of(found, "CAP_NET_RAW"), of(found, "refused")) == (None, None)
    code, found = answer([*NO_NET_RAW, *run, *doctor])
    assert "--cap-add NET_RAW" in of(found, "CAP_NET_RAW is missing here")["remedy"]


@needs_user
def test_a_control_group_that_leaves_too_little_is_mended_by_the_command(lab, group):
    group.limit_to(100 * MIB)
    arguments = ["doctor", "--json", "--socket", NOWHERE, "-u", "up0", "-d", "down0"]
    code, output = exit_code(lab.router, arguments, prefix=group.prefix())
    finding = of(json.loads(output), "the control group may have 100 MiB")
    assert code == 1
    treat(lab.router, finding)
    _, output = exit_code(lab.router, arguments, prefix=group.prefix())
    assert of(json.loads(output), "the control group") is None


def test_an_empty_container_and_strange_interfaces_are_examined(stack, tmp_path):
    """No packet filter's program is found, /proc shows nothing but ourselves, names are what the kernel takes."""
    empty = stack.enter_context(Namespace("empty"))
    code, output = exit_code(empty, ["doctor", "--socket", NOWHERE], prefix=("env", f"PATH={tmp_path}"))
    assert code == 0
    assert "no configuration was named" in " ".join(output.split())
    names = ["a;reboot", "$(id)", "it's", "-x", "a\"b", "ü"]
    for name in names:
        links.netlink(empty, lambda ip, name=name: ip.link("add", ifname=name, kind="bridge"))
    words = [word for name in names for word in ("-d", name)]
    code, found = told(empty, *(f"--downstream={name}" for name in names))
    down = [each for each in found if each["words"].endswith("is down: nothing comes in or leaves there")]
    assert [each["subject"] for each in down] == names
    for each in down:
        treat(empty, each)
    _, found = examined(empty, *words)
    assert of(found, "is down") is None


def test_a_clean_machine_says_so_for_people(lab):
    code, output = exit_code(lab.router, ["doctor", "--socket", NOWHERE, "-u", "up0", "-d", "down0", "-d", "down1"])
    assert code == 0, output
    assert max(map(len, output.splitlines())) <= 80
    assert not {"errors:", "warnings:"} & set(output.splitlines())


def test_a_configuration_that_cannot_run_is_an_error_and_the_machine_is_examined(lab, tmp_path: Path):
    file = tmp_path / "mcfwd.toml"
    file.write_text("[[interface]]\nname = 3\n")
    code, found = told(lab.router, "-c", str(file))
    assert code == 2
    assert of(found, "mcfwd.toml:2")["severity"] == "error"
