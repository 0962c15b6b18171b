"""A port of a bridge named instead of the bridge: said before, at the start and when it becomes one."""

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.programs import Receiver, Sender

GROUP = "239.1.1.1"
SOON = 10.0
WORDS = "down0 is a port of the bridge br0, which takes what comes in: name br0 instead"
FILE = '[[interface]]\nname = "up0"\nrole = "upstream"\n[[interface]]\nname = "down0"\n'


@pytest.fixture
def bridged(make_lab):
    """A lab whose router has its downstream link in a bridge, which has the address."""
    lab = make_lab(1)
    bridge(lab)
    return lab


def bridge(lab) -> None:
    links.delete_address(lab.router, "down0", "192.168.10.1/24")
    links.bridge(lab.router, "br0", ["down0"])
    links.add_address(lab.router, "br0", "192.168.10.1/24")
    links.up(lab.router, "br0")
    links.wait_up(lab.router, "br0")


def test_the_bridge_to_name_is_said_at_the_start_and_beforehand(bridged, stack, tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text(FILE)
    code, output = exit_code(bridged.router, ["check", str(file)])
    assert code == 0
    assert WORDS in output
    mcfwd = stack.enter_context(Mcfwd(bridged.router, "-c", str(file)))
    assert WORDS in mcfwd.read_log()
    assert mcfwd.interface("down0")["degraded"] == WORDS


def test_the_bridge_that_is_named_then_hears(bridged, stack):
    mcfwd = stack.enter_context(Mcfwd(bridged.router, "-u", "up0", "-d", "br0"))
    with Receiver(bridged.receivers[0], GROUP) as receiver, Sender(bridged.source, GROUP, rate=500):
        receiver.wait_received(100)
    assert mcfwd.interface("br0")["degraded"] is None
    assert "is a port of" not in mcfwd.read_log()


def test_a_port_that_is_put_into_a_bridge_while_we_run_is_said_too(make_lab, start_mcfwd):
    lab = make_lab(1)
    mcfwd = start_mcfwd(lab)
    assert mcfwd.interface("down0")["degraded"] is None
    bridge(lab)
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["degraded"] == WORDS, SOON, "said to be a port of a bridge")
    assert mcfwd.read_log().count(WORDS) == 1
    links.delete(lab.router, "br0")
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["degraded"] is None, SOON, "said to be none any more")
