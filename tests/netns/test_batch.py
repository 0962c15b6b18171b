"""A large batch at a running instance: one change, in little time, after which all that it said is so."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.lab.capture import UDP, Capture
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.topology import SOURCE, Lab
from netns.frames import Injector, udp
from netns.plant import new_lab

ROUTES = 10_000
GROUPS = [f"239.{at >> 8}.{at & 255}.1" for at in range(ROUTES)]
MOST_TIME = 2.0     # seconds of the supervisor's processor time; it takes a third of one


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Lab, Mcfwd]]:
    with new_lab(2) as lab, Mcfwd(lab.router, "-u", "up0", "-d", "down0", "-d", "down1") as mcfwd:
        yield lab, mcfwd


def batch(site: tuple[Lab, Mcfwd], folder: Path, lines: list[str]) -> tuple[int, str]:
    lab, mcfwd = site
    file = folder / "commands"
    file.write_text("\n".join(lines))
    return exit_code(lab.router, ["batch", str(file), "--socket", mcfwd.socket], timeout=60.0)


def processor_time(pid: int) -> float:
    """Seconds of a process, its own and the kernel's for it (proc(5))."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def test_ten_thousand_routes_are_one_change(site, tmp_path):
    lab, mcfwd = site
    supervisor, children = mcfwd.process.pid, mcfwd.pids
    before = processor_time(supervisor)
    assert batch(site, tmp_path, [f"route add {group} --upstream up0 --to down0" for group in GROUPS]) == (0, "")
    taken = processor_time(supervisor) - before
    assert taken < MOST_TIME, f"the supervisor took {taken:.2f} s"
    assert {row["group"] for row in mcfwd.show("routes")} == set(GROUPS)
    assert mcfwd.read_log().count("batch: 10,000 static routes added") == 1
    with Capture(lab.receivers[0], protocol=UDP) as capture, Injector(lab.source) as injector:
        for number, group in enumerate((GROUPS[0], GROUPS[-1])):
            payload = b"number %d" % number

            def came(frame, payload=payload):
                return frame.payload[8:] == payload

            mcfwd.wait_for(lambda _, group=group, payload=payload, came=came:
                           injector.send(udp(SOURCE, group, payload)) or capture.select(came), 10.0, group)  # fmt: skip
    refused = batch(site, tmp_path, [f"route del {GROUPS[0]} --upstream up0", "", "route add 239.9.9.9 --to donw0"])
    place = f"mcfwd: {tmp_path}/commands:3: interfaces[0]: no [[interface]] covers \"donw0\""
    assert refused == (1, f"{place}; there are down0, down1, up0; nothing was changed\n")
    assert len(mcfwd.show("routes")) == ROUTES
    lines = [f"route del {group} --upstream up0" for group in GROUPS] + ["group add down1 239.200.0.1"]
    assert batch(site, tmp_path, lines) == (0, "")
    assert mcfwd.show("routes") == [] or {row["kind"] for row in mcfwd.show("routes")} == {"learned"}
    mcfwd.wait_member("down1", "239.200.0.1")
    assert mcfwd.pids == children, "somebody was missed and replaced"


def test_an_interface_that_there_is_not_is_answered_with_those_that_there_are(site):
    lab, mcfwd = site
    for words in (["query", "down3"], ["clear", "down3"]):
        refused = exit_code(lab.router, [*words, "--socket", mcfwd.socket])
        assert refused == (1, 'mcfwd: interface: there is no "down3"; there are down1, down0\n')


def test_the_names_of_interfaces_are_completed(site):
    lab, mcfwd = site
    for words, expected in (("query --socket {} ", "down0\ndown1\n"), ("route add --socket {} --from u", "up0\n")):
        asked = words.format(mcfwd.socket).split(" ")
        words = ["completion", "bash", "--", *asked]    # an instance has 0.3 s, and the machine may be busy
        mcfwd.wait_for(lambda _, words=words, expected=expected: exit_code(lab.router, words) == (0, expected), 30.0)
