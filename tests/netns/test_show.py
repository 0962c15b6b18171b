"""`mcfwd show` of what flows: rates, and the rows that were asked for; all against one instance."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import Lab

WANTED, UNWANTED, RATE, SOON = "239.1.2.3", "239.1.2.4", 2000, 20.0
PAYLOAD = 100
BITS = RATE * (PAYLOAD + 28) * 8


@pytest.fixture(scope="module")
def mcfwd() -> Iterator[Mcfwd]:
    """A group that somebody wants and one that nobody does, RATE datagrams a second of each, and a denied join."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(2))
        running = stack.enter_context(Mcfwd(lab.router, "-u", lab.upstream, *(
            word for name in lab.downstreams for word in ("-d", name))))  # fmt: skip
        stack.enter_context(Receiver(lab.receivers[0], WANTED))
        running.wait_member(lab.downstreams[0], WANTED, SOON)
        stack.enter_context(Sender(lab.source, WANTED, UNWANTED, rate=2 * RATE, size=PAYLOAD))
        running.wait_for(lambda asked: len(asked.show("flows")) == 2, SOON, "both flows")
        yield running


def shown(mcfwd: Mcfwd, *arguments: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "MCFWD_SOCKET": mcfwd.socket, "COLUMNS": "80"}
    command = [sys.executable, "-m", "forwarder", "show", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=60)


def rows(mcfwd: Mcfwd, *arguments: str):
    return json.loads(shown(mcfwd, *arguments, "--json").stdout)


def right(told: float | None, meant: float) -> bool:
    """Of a sender on a busy machine."""
    return told is not None and 0.4 * meant < told < 2 * meant


def test_one_answer_has_the_rates_of_the_last_seconds(mcfwd):
    mcfwd.wait_for(lambda asked: all(row["since"] > 5 for row in asked.show("flows")), SOON, "some seconds")
    flows = rows(mcfwd, "flows")
    assert all(right(row["packets_per_second"], RATE) and right(row["bits_per_second"], BITS) for row in flows)
    ports = {row["name"]: row for row in rows(mcfwd, "interfaces")}
    assert right(ports["up0"]["rx_packets_per_second"], 2 * RATE)
    assert right(ports["down0"]["tx_bits_per_second"], BITS)
    assert (ports["up0"]["tx_packets_per_second"], ports["down1"]["tx_bits_per_second"]) == (0, 0)


def test_words_choose_rows(mcfwd):
    assert [row["group"] for row in rows(mcfwd, "flows", WANTED)] == [WANTED]
    assert [row["group"] for row in rows(mcfwd, "flows", "239.0.0.0/8", "down0")] == [WANTED]
    assert {row["group"] for row in rows(mcfwd, "flows", "up*", "down1")} == {WANTED, UNWANTED}
    assert [row["name"] for row in rows(mcfwd, "interfaces", "down*", "--sort", "-name")] == ["down1", "down0"]
    assert [row["group"] for row in rows(mcfwd, "groups", "down0", WANTED)] == [WANTED]
    nothing = shown(mcfwd, "flows", "239.9.9.9", "--problems")
    assert (nothing.returncode, nothing.stdout) == (0, "no flows with a problem for 239.9.9.9\n")


def test_a_table_has_rates_in_words(mcfwd):
    table = shown(mcfwd, "flows", WANTED).stdout
    assert "bit/s" in table, table



@pytest.mark.parametrize("victim", ["mcfwd-worker-0", "mcfwd-api"])
def test_rates_are_right_whoever_is_replaced(mcfwd, victim):
    before = {row["group"]: row["since"] for row in rows(mcfwd, "flows")}
    mcfwd.wait_replaced(victim, mcfwd.kill(victim), SOON)

    def told(asked: Mcfwd) -> bool:
        """Whether rates are known; they are never absurd meanwhile."""
        found = [row["packets_per_second"] for row in asked.show("flows")]
        assert all(rate is None or 0 <= rate < 5 * RATE for rate in found), found
        return all(right(rate, RATE) for rate in found)

    mcfwd.wait_for(told, SOON, "rates")
    assert all(row["since"] > before[row["group"]] for row in rows(mcfwd, "flows"))
