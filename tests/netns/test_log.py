"""What the log says of what happens on real links: who queries, versions, limits, reloads, and the end.

    source 10.0.0.1 -- up0 10.0.0.2 [router] down0 192.168.10.1 -- receiver0 192.168.10.11
                                             down1 192.168.20.1 -- receiver1 192.168.20.11
"""

import json
import os
import re
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.programs import Sender
from forwarder.lab.topology import SOURCE, Lab
from forwarder.lab.wait import wait_for
from netns.frames import Member
from netns.site import V3_REPORT, general_query, send_igmp, v2_report

SOON = 10.0
GROUP, CHANNEL = "239.1.1.1", "232.1.1.1"
EVERYBODY = "224.0.0.1"
PORTS = '[[interface]]\nname = "up0"\nrole = "upstream"\n[[interface]]\nname = "down0"\nmax_groups = 1\n'
FAST = "[igmp]\nquery_interval = 1.5\nquery_response_interval = 0.5\nolder_querier_timeout = 2.0\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of up0 and down0."""
    file = tmp_path / "mcfwd.toml"
    file.write_text(PORTS + FAST)
    return file


@pytest.fixture
def start(lab: Lab, stack: ExitStack):
    return lambda *arguments, **options: stack.enter_context(Mcfwd(lab.router, *arguments, **options))


def says(mcfwd: Mcfwd, words: str, level: str = "INFO") -> None:
    """Returns when a line of the log ends with these words, of which some may be a pattern's."""
    line = re.compile(rf" {level} {words}$", re.MULTILINE)
    wait_for(lambda: line.search(mcfwd.read_log()), SOON, f"{words} in the log:\n{mcfwd.read_log()}")


# RFC 4605 3 g, 5 a
def test_who_is_the_querier_is_told_with_what_follows(lab, start, file):
    links.delete_address(lab.router, "down0", "192.168.10.1/24")
    links.add_address(lab.router, "down0", "192.168.10.200/24")
    mcfwd = start("-c", str(file))
    every_second = general_query(3, 0.5)[:-3] + bytes((1, 0, 0))
    send_igmp(lab.receivers[0], every_second, EVERYBODY)
    words = "down0: 192.168.10.11 is the querier now; we do not forward there (forward_when_not_querier)"
    says(mcfwd, re.escape(words), "WARNING")
    says(mcfwd, "down0: we are the querier now, with the address 192.168.10.200; 192.168.10.11 is silent")


# RFC 9776 7.3.1 a i
def test_another_version_is_told_once_and_a_refusal_with_group_and_option(lab, start, file):
    mcfwd = start("-c", str(file))
    for _ in range(3):
        send_igmp(lab.receivers[0], general_query(2, 0.5), EVERYBODY)
    says(mcfwd, r"down0: 192.168.10.11 queries in IGMPv2, an older version than the IGMPv3 that we speak .*", "WARNING")
    for group in ("239.1.1.1", "239.1.1.2"):
        send_igmp(lab.receivers[0], v2_report(group), group)
    says(mcfwd, "down0: max_groups is reached: 239.1.1.2 is refused to 192.168.10.11, or a part of it", "WARNING")
    assert mcfwd.read_log().count("an older version") == 1


# RFC 4605 4.1 j
def test_a_fallback_upstream_is_told_with_what_it_costs_and_so_is_the_return(lab, start, file):
    mcfwd = start("-c", str(file))
    record = bytes((5, 0, 0, 1)) + socket.inet_aton(CHANNEL) + socket.inet_aton(SOURCE)     # ALLOW
    send_igmp(lab.receivers[0], bytes((V3_REPORT, 0, 0, 0, 0, 0, 0, 1)) + record, "224.0.0.22")
    mcfwd.wait_member("down0", CHANNEL)
    for _ in range(2):
        send_igmp(lab.source, general_query(2, 0.5), EVERYBODY)
    says(mcfwd, f"up0: the querier {SOURCE} speaks IGMPv2, so that is what we report in; it knows no sources, so 1 "
                "group with sources must be reported whole", "WARNING")
    says(mcfwd, "up0: no older querier was heard for a while: we report in IGMPv3 again")
    assert mcfwd.read_log().count("so that is what we report in") == 1


def test_what_a_reload_changes_and_what_it_cannot_is_told_to_log_and_command(lab, start, file):
    mcfwd = start("-c", str(file))
    command = ["reload", "--socket", mcfwd.socket]
    file.write_text(PORTS.replace("max_groups = 1", "max_groups = 2") + FAST)
    assert exit_code(lab.router, command) == (0, "")
    says(mcfwd, "down0: max_groups is 2, was 1", "INFO reload:")
    file.write_text(PORTS + FAST + "[dataplane]\nmax_routes = 100\n")
    words = "mcfwd: reloaded, but not dataplane.max_routes: fixed at start; needs a restart\n"
    assert exit_code(lab.router, command) == (1, words)
    says(mcfwd, "reload: not taken over: dataplane.max_routes; .* need a restart", "WARNING")
    file.write_text("odd")
    code, words = exit_code(lab.router, command)
    assert code == 78
    says(mcfwd, "reload refused, the running configuration stays: .*", "ERROR")


def test_links_and_the_end_are_told_with_what_was_carried(lab, start, file, stack):
    mcfwd = start("-c", str(file))
    stack.enter_context(Member(lab.receivers[0], GROUP))
    mcfwd.wait_member("down0", GROUP)
    stack.enter_context(Sender(lab.source, GROUP, rate=100, count=20))
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["tx_packets"] == 20, SOON, "20 datagrams")
    links.add_address(lab.router, "down0", "10.9.9.1/24")
    says(mcfwd, r"down0: addresses 192.168.10.1/24, 10.9.9.1/24 \(were 192.168.10.1/24\)")
    links.down(lab.router, "down0")
    says(mcfwd, r"down0 is down \(was up\)")
    assert mcfwd.stop() == 0
    says(mcfwd, "stopping: SIGTERM")
    says(mcfwd, r"up0: received 20 packets \(.*\), sent 0 \(0 B\), dropped none")
    says(mcfwd, r"down0: received 0 packets \(0 B\), sent 20 \(.*\), dropped none")
    says(mcfwd, "stopped after .*")


def test_debug_tells_joins_leaves_and_decisions_of_mcfwd_and_nothing_of_libraries(lab, start, file, stack):
    mcfwd = start("-c", str(file), "--log-format", "json", log_level="debug")
    with Member(lab.receivers[0], GROUP):
        mcfwd.wait_member("down0", GROUP)
        stack.enter_context(Sender(lab.source, GROUP, rate=100, count=20))
        mcfwd.wait_for(lambda _: mcfwd.interface("down0")["tx_packets"] == 20, SOON, "20 datagrams")
    mcfwd.wait_for(lambda _: not mcfwd.group("down0", GROUP), SOON, "the end of the group")
    mcfwd.stop()
    said = [json.loads(line)["message"] for line in mcfwd.read_log().splitlines()]
    for words in (f"down0: heard report TO_EX {GROUP} of 192.168.10.11", f"{GROUP} of any source: wanted on down0",
                  f"up0: send report TO_EX {GROUP}", f"up0: {GROUP} of {SOURCE}: forward to down0",
                  f"down0: heard report TO_IN {GROUP} of 192.168.10.11", f"{GROUP} of any source: no route any more"):
        assert words in said, words
    assert not [words for words in said if "pyroute" in words or "selector" in words or "asyncio" in words]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what it may not")
def test_a_file_that_no_reload_could_read_is_told_at_start_by_run_and_check(lab, start, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    file = folder / "mcfwd.toml"
    file.write_text(PORTS)
    os.chown(folder, 65534, 65534)
    words = f"{file} cannot be read any more once the privileges of the start are given up (Permission denied)"
    words = re.escape(words)
    mcfwd = start("-c", str(file))
    says(mcfwd, f"{words}.*", "WARNING")
    mcfwd.process.send_signal(signal.SIGHUP)
    says(mcfwd, "reload refused, .*: Permission denied", "ERROR")
    code, said = exit_code(lab.router, ["check", str(file)])
    assert code == 0
    assert re.search(f"^  {words}", said, re.MULTILINE)
    os.chown(folder, 0, 0)
    assert "cannot be read" not in exit_code(lab.router, ["check", str(file)])[1]


def test_another_instance_for_the_same_receivers_is_told_and_one_for_others_is_not(lab, start):
    first, other = start("-u", "up0", "-d", "down0"), start("-u", "up0", "-d", "down1")
    for mcfwd in (first, other):
        assert "another mcfwd" not in mcfwd.read_log()
    second = start("-u", "up0", "-d", "down0", "-d", "down1")
    says(second, "another mcfwd serves down0, down1 already: what both forward arrives twice; stop one of them",
         "WARNING")  # fmt: skip
