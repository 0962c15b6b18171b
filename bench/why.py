"""`python -m bench.why`: how long `mcfwd why` takes beside 65,536 flows and 50,000 groups, all of them real.

A lab with one receiver's link, on which a neighbour joins the groups by IGMPv3 reports of a hundred records; a datagram
of as many flows comes from upstream. Then the command is run as people run it, with the interpreter's start. Wall time
is what the promise is about; processor time, of the command and of the API process, says what a busy machine adds.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.topology import LINK, Lab
from forwarder.lab.wait import wait_for
from igmp.link import format_address, parse_address
from igmp.messages import GroupRecord, RecordType, encode_report
from igmp.packet import encode

SETTINGS = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
max_groups = 60000
[dataplane]
max_flows = 131072
flow_limit = 4096
"""
FIRST, SOURCE, HOST = map(parse_address, ("239.1.0.0", "10.0.0.9", "192.168.10.11"))
V3_ROUTERS = parse_address("224.0.0.22")
RECORDS, WINDOW = 100, 32       # of a report; reports, or frames of flows, between two looks at what has come
TARGETS = {"known": "239.1.0.7", "unknown": "239.200.0.1"}


def reports(groups: int) -> Iterator[bytes]:
    """Packets that join so many groups."""
    for begin in range(0, groups, RECORDS):
        numbers = range(begin, min(begin + RECORDS, groups))
        records = [GroupRecord(RecordType.CHANGE_TO_EXCLUDE, FIRST + number, ()) for number in numbers]
        yield encode(HOST, V3_ROUTERS, encode_report(records))


def datagrams(flows: int, groups: int) -> Iterator[bytes]:
    """Packets of so many flows, of several sources where there are more than groups."""
    for number in range(flows):
        source, group = SOURCE + number // groups, FIRST + number % groups
        header = bytearray(28)
        header[0], header[3], header[8], header[9] = 0x45, 28, 16, 17
        header[12:20] = source.to_bytes(4) + group.to_bytes(4)
        total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, 20, 2))
        header[10:12] = (0xFFFF - (total % 0xFFFF)).to_bytes(2)
        header[24:26] = (8).to_bytes(2)
        yield bytes(header)


def frame(packet: bytes) -> bytes:
    """The packet in an Ethernet frame to its group."""
    group = packet[16:20]
    return b"\x01\x00\x5e" + bytes((group[1] & 0x7F,)) + group[2:] + b"\x02\0\0\0\0\x99\x08\x00" + packet


def inject(lab: Lab, upstream: bool, packets: Iterator[bytes], pause: float) -> None:
    """Send them on a link, WINDOW at a time."""
    namespace = lab.source if upstream else lab.receivers[0]
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        namespace.run(sock.bind, (LINK, 0))
        for number, packet in enumerate(packets, 1):
            sock.send(frame(packet))
            if number % WINDOW == 0:
                time.sleep(pause)


def spent(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(mcfwd: Mcfwd, *arguments: str) -> tuple[float, float, float]:
    """Wall seconds of one command, and processor seconds of it and of the API process."""
    api = mcfwd.pids["mcfwd-api"]
    answering = spent(api)
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "forwarder", "why", *arguments, "--socket", mcfwd.socket]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=False, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begun, busy, spent(api) - answering


def main() -> None:
    """Build it up, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", type=int, default=50_000)
    parser.add_argument("--flows", type=int, default=65_536)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "mcfwd.toml"
        file.write_text(SETTINGS)
        lab = stack.enter_context(Lab(1))
        mcfwd = stack.enter_context(Mcfwd(lab.router, "-c", str(file)))
        inject(lab, False, reports(options.groups), 0.05)
        wait_for(lambda: mcfwd.interface("down0")["groups"] >= options.groups, 60.0, "groups")
        inject(lab, True, datagrams(options.flows, options.groups), 0.005)
        wait_for(lambda: mcfwd.show("stats")["flows"] >= options.flows * 0.99, 30.0, "flows")
        print(f"{mcfwd.interface('down0')['groups']:,} groups, {mcfwd.show('stats')['flows']:,} flows")
        for name, group in TARGETS.items():
            for question in ([group], [group, "down0"], [group, format_address(HOST)]):
                runs = [timed(mcfwd, *question) for _ in range(options.times)]
                wall, busy, answering = (median(each) for each in zip(*runs, strict=True))
                took = f"{wall:.2f} s (longest {max(runs)[0]:.2f})"
                work = f"of a processor: {busy:.2f} s the command, {answering:.2f} the API"
                print(f"why {' '.join(question):<32} {name:<8} {took}; {work}", flush=True)


if __name__ == "__main__":
    main()
