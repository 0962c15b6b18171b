"""Receivers and senders on the forwarding host itself, by the commands of docs/operating.md as they are printed."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from netns.test_readme import OPERATING, program

SHELL = re.search(r"<!-- programs on this host -->\n```sh\n(.*?)```", OPERATING, re.DOTALL)
FROM_OUTSIDE, FROM_HERE, SOON = "239.1.1.1", "239.1.1.2", 20.0
pytestmark = pytest.mark.skipif(not is_root(), reason="the commands write below /proc/sys, which is root's")


def printed() -> list[str]:
    """The commands, without their comments."""
    assert SHELL, "docs/operating.md has no recipe"
    return [re.sub(r"\s+#.*", "", line) for line in SHELL[1].splitlines()]


@pytest.fixture
def links_of_host(stack) -> tuple[Namespace, Namespace, Namespace]:
    """A host that refuses sources by reverse path as strictly as it can, with eth0 and eth1; what is there."""
    host, outside, inside = (stack.enter_context(Namespace(name)) for name in ("host", "outside", "inside"))
    for scope in ("all", "default"):
        host.sysctl(f"ipv4/conf/{scope}/rp_filter", 1)
    for number, there in enumerate((outside, inside)):
        links.veth(host, f"eth{number}", there, "eth0")
        for namespace, name, last in ((host, f"eth{number}", 1), (there, "eth0", 2)):
            links.add_address(namespace, name, f"10.0.{number}.{last}/24")
            links.up(namespace, name)
        links.wait_up(host, f"eth{number}")
    links.add_default_route(host, "10.0.0.2")
    return host, outside, inside


def test_programs_of_the_host_receive_and_send_by_the_recipe_as_printed(links_of_host, stack, tmp_path: Path):
    host, outside, inside = links_of_host
    *prepare, run = printed()
    program(tmp_path / "sudo", 'exec "$@"')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shell = ["sh", "-euc", "\n".join(prepare)]
    with host.popen(shell, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as shown:
        said, _ = shown.communicate(timeout=20)
    assert (shown.returncode, said) == (0, "2\n")
    assert "dev local0" in host.command("ip", "route", "get", FROM_OUTSIDE)
    words = shlex.split(run)
    assert words[:3] == ["sudo", "mcfwd", "run"]
    mcfwd = stack.enter_context(Mcfwd(host, *words[3:]))

    stack.enter_context(Sender(outside, FROM_OUTSIDE, rate=500.0, size=64))
    here = stack.enter_context(Receiver(host, FROM_OUTSIDE, interface="local0"))
    here.wait_received(500, SOON)
    reports = mcfwd.interface("mcfwd0")["igmp"]["report_v3"]
    assert mcfwd.request("POST", "/v1/query", {"interface": "mcfwd0"})[0] == 200
    mcfwd.wait_for(lambda _: mcfwd.interface("mcfwd0")["igmp"]["report_v3"] > reports, SOON, "the kernel's answer")

    there = stack.enter_context(Receiver(inside, FROM_HERE))
    mcfwd.wait_member("eth1", FROM_HERE, SOON)
    stack.enter_context(Sender(host, FROM_HERE, interface="local0", rate=500.0, size=64))
    there.wait_received(500, SOON)
    here.leave(FROM_OUTSIDE)
    mcfwd.wait_for(lambda _: not mcfwd.group("mcfwd0", FROM_OUTSIDE), SOON, "the end of the group")
