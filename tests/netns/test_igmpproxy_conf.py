"""The same igmpproxy.conf given to igmpproxy and to us: the same receivers, the same datagrams, the same decisions."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.peers.igmpproxy import Igmpproxy, obstacle
from forwarder.config.converting import written
from forwarder.config.loading import understand
from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from forwarder.lab.wait import wait_for
from netns.peers import skip_without
from netns.site import told

TEXT = """\
# the platform sends from afar
quickleave
phyint up0 upstream  ratelimit 0  threshold 9
        altnet 172.20.0.0/16;   # as it is written in many files
phyint down0 downstream ratelimit 0 threshold 4
        whitelist 239.7.0.0/16 whitelist 239.1.1.0/24
phyint down1 threshold 1 downstream
phyint down2
"""
ALTNET, STRANGER = "172.20.0.7", "172.30.0.7"
ALLOWED, OTHER = "239.1.1.1", "239.5.5.5"       # by the whitelist of down0
DONE = 201      # of a reload
TIMES = 5       # that each datagram has to have come: by then those that others are passed by would have, too
SOURCES = (SOURCE, ALTNET, STRANGER)
SENT = [(group, source, ttl) for group in (ALLOWED, OTHER) for source in SOURCES for ttl in (1, 4, 5)]
PASSING = {
    0: {(ALLOWED, source, 5) for source in (SOURCE, ALTNET)},
    1: {(group, source, ttl) for group in (ALLOWED, OTHER) for source in (SOURCE, ALTNET) for ttl in (4, 5)},
    2: set(),
}


@pytest.fixture(scope="module")
def lab():
    skip_without(obstacle())
    with Lab(3) as lab:
        for address in (ALTNET, STRANGER):
            links.add_address(lab.source, LINK, f"{address}/16")
        yield lab


def decisions(lab: Lab, peer: Igmpproxy | Mcfwd) -> dict[int, set[tuple[str, str, int]]]:
    """What each receiver gets of SENT, as it was sent, when all join both groups."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Capture(lab.source, protocol=IGMP))
        stack.enter_context(peer)
        streams = [stack.enter_context(Capture(each, protocol=UDP, snaplen=64)) for each in lab.receivers]
        for namespace in lab.receivers:
            receiver = stack.enter_context(Receiver(namespace))
            receiver.join(ALLOWED)
            receiver.join(OTHER)

        def joined() -> set[str]:
            frames = upstream.select(lambda frame: frame.source == UPSTREAM)
            return {each.group for frame in frames for each in told(frame)}

        def got(number: int) -> list[tuple[str, str, int]]:
            frames = streams[number].select(lambda frame: frame.destination in (ALLOWED, OTHER))
            return [(frame.destination, frame.source, frame.ttl + 1) for frame in frames]

        def enough() -> bool:
            send(lab)
            return all(got(number).count(each) >= TIMES for number, passing in PASSING.items() for each in passing)

        wait_for(lambda: {ALLOWED, OTHER} <= joined(), 10.0, "both groups joined upstream")
        wait_for(enough, 20.0, "what passes")
        return {number: set(got(number)) for number in PASSING}


def send(lab: Lab) -> None:
    """A datagram of each kind."""
    for group, source, ttl in SENT:
        with lab.source.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            sock.sendto(b"datagram", (group, 5000))


def test_igmpproxy_decides_so(lab):
    assert decisions(lab, Igmpproxy(lab.router, downstreams=("down0", "down1"), text=TEXT)) == PASSING


def test_so_do_we_by_the_toml_that_the_file_becomes(lab, tmp_path):
    """Which is the same as by the file itself (tests/formats)."""
    loaded = understand(Path("igmpproxy.conf"), [], [], None, octets=TEXT.encode())
    assert loaded.translation is not None
    file = tmp_path / "mcfwd.toml"
    file.write_text(written(loaded.translation, Path("igmpproxy.conf")))
    assert decisions(lab, Mcfwd(lab.router, "-c", str(file))) == PASSING


def test_a_reload_reads_all_files_and_tells_what_is_to_be_known_and_a_wrong_one_changes_nothing(lab, tmp_path):
    """The supervisor reads them, for a process that understands them."""
    file, more = tmp_path / "igmpproxy.conf", tmp_path / "more.conf"
    file.write_text(f"{TEXT}include more*.conf\n")
    more.write_text("phyint down3\n")
    with Mcfwd(lab.router, "-c", str(file)) as mcfwd:
        notice = f'{file}:4: "172.20.0.0/16;" is read as 172.20.0.0/16'
        assert mcfwd.read_log().count(notice) == 1
        more.write_text("phyint down3\n downstream altnet")
        status, answer = mcfwd.request("POST", "/v1/reload", {}, timeout=20.0)
        assert (status, f"{more}:2: altnet: the network is missing" in str(answer)) == (422, True)
        more.write_text("phyint down3 downstream\n")
        assert mcfwd.request("POST", "/v1/reload", {}, timeout=20.0)[0] == DONE
        assert mcfwd.interface("down3")["role"] == "downstream"
        assert mcfwd.read_log().count(notice) == 2
