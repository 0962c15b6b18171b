"""What the membership tests run on: receivers that speak IGMPv1, v2 and v3, two sources that never stop, one mcfwd.

    source  10.0.0.1, 10.0.0.7 -- up0 [router] down0 -- receiver0, IGMPv1
                                               down1 -- receiver1, IGMPv2
                                               down2 -- receiver2, IGMPv3

Both sources send every group of GROUPS and CHANNEL all the time, so a stream that is not received was held back. The
IGMP of every link is captured from before mcfwd starts. It lasts for a module; each test takes groups of its own.
"""

import array
import itertools
import json
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forwarder.lab import links
from forwarder.lab.capture import IGMP, UDP, Capture, Frame
from forwarder.lab.mcfwd import Mcfwd, exit_code
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM, Lab
from forwarder.lab.wait import wait_for

GROUPS = [f"239.1.1.{number}" for number in range(1, 33)]
CHANNEL = "232.1.1.1"
OTHER_SOURCE = "10.0.0.7"
RATE = 25.0             # datagrams a second of each group from each source
QUIET = 0.3             # seconds without a datagram: a stream has ended

QUERY_INTERVAL, RESPONSE_INTERVAL, LAST_MEMBER_INTERVAL, STARTUP_INTERVAL = 1.5, 0.5, 0.2, 0.3
OLDER_QUERIER_TIMEOUT = 3.0
LAST_MEMBER_QUERY_TIME = 2 * LAST_MEMBER_INTERVAL
GROUP_MEMBERSHIP_INTERVAL = 2 * QUERY_INTERVAL + 2 * RESPONSE_INTERVAL
CONFIGURATION = f"""
[igmp]
query_interval = {QUERY_INTERVAL}
query_response_interval = {RESPONSE_INTERVAL}
last_member_query_interval = {LAST_MEMBER_INTERVAL}
startup_query_interval = {STARTUP_INTERVAL}
unsolicited_report_interval = 0.2
older_querier_timeout = {OLDER_QUERIER_TIMEOUT}
"""

RECORDS = {1: "IS_IN", 2: "IS_EX", 3: "TO_IN", 4: "TO_EX", 5: "ALLOW", 6: "BLOCK"}
MESSAGES = {0x12: "report v1", 0x16: "report v2", 0x17: "leave"}
QUERY, V2_REPORT, V3_REPORT = 0x11, 0x16, 0x22
ROUTER_ALERT = bytes((0x94, 4, 0, 0))


@dataclass(frozen=True)
class Told:
    """One group as a report or leave speaks of it; `kind` is a value of RECORDS or MESSAGES."""

    time: float
    kind: str
    group: str
    sources: tuple[str, ...] = ()


def told(frame: Frame) -> list[Told]:
    """What an IGMP frame says of groups; queries say nothing."""
    message = frame.payload
    if message[0] in MESSAGES:
        return [Told(frame.time, MESSAGES[message[0]], socket.inet_ntoa(message[4:8]))]
    return list(_records(frame)) if message[0] == V3_REPORT else []


def _records(frame: Frame) -> Iterator[Told]:
    message, at = frame.payload, 8
    for _ in range(int.from_bytes(message[6:8], "big")):
        count = int.from_bytes(message[at + 2 : at + 4], "big")
        addresses = [socket.inet_ntoa(message[i : i + 4]) for i in range(at + 4, at + 8 + 4 * count, 4)]
        yield Told(frame.time, RECORDS[message[at]], addresses[0], tuple(addresses[1:]))
        at += 8 + 4 * (count + message[at + 1])


def ones_complement_sum(octets: bytes) -> int:
    """Folded sum of 16-bit words; 0xffff over anything that carries its own right checksum (RFC 1071)."""
    words = array.array("H", octets + b"\0" * (len(octets) % 2))
    words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def sealed(message: bytes) -> bytes:
    """An IGMP message with its checksum, bytes 2 and 3, filled in."""
    return message[:2] + (0xFFFF - ones_complement_sum(message)).to_bytes(2, "big") + message[4:]


def general_query(version: int, seconds: float) -> bytes:
    """A General Query of IGMPv2 or v3 that allows `seconds` to answer."""
    eight = bytes((QUERY, round(seconds * 10), 0, 0, 0, 0, 0, 0))
    return eight if version == 2 else eight + bytes((2, 125, 0, 0))


def v2_report(group: str) -> bytes:
    """An IGMPv2 report."""
    return bytes((V2_REPORT, 0, 0, 0)) + socket.inet_aton(group)


def v3_report(*groups: str) -> bytes:
    """An IGMPv3 report of one TO_EX({}) record for each group."""
    header = bytes((V3_REPORT, 0, 0, 0, 0, 0, 0, len(groups)))
    return header + b"".join(bytes((4, 0, 0, 0)) + socket.inet_aton(group) for group in groups)


def send_igmp(namespace: Namespace, message: bytes, destination: str) -> None:
    """Sends an IGMP message, checksum filled in, as a well-behaved neighbour: TTL 1, Router Alert."""

    def send() -> None:
        request = socket.inet_aton("0.0.0.0") * 2 + socket.if_nametoindex(LINK).to_bytes(4, "little")
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, ROUTER_ALERT)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            sock.sendto(sealed(message), (destination, 0))

    namespace.run(send)


def send_datagrams(namespace: Namespace, address: str, *groups: str, payload: bytes = b"datagram") -> None:
    """One datagram to each group, in this order, from a program in the namespace; `address` is its link's."""
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        for group in groups:
            sock.sendto(payload, (group, 5000))


class Site:
    """See the module; `versions` are those of the receivers, one downstream link each.

    `configuration` is mcfwd's file, at `file`; it serves all links unless the file names them.
    """

    def __init__(
        self, versions: Sequence[int] = (1, 2, 3), *, senders: bool = True, configuration: str = CONFIGURATION
    ) -> None:
        self._versions, self._senders, self._configuration = versions, senders, configuration
        self._free = iter(GROUPS) if senders else (f"239.1.{n >> 8}.{n & 255}" for n in range(257, 1 << 16))
        self._joined: list[tuple[int, str, str]] = []

    def __enter__(self) -> "Site":
        with ExitStack() as stack:
            self.lab = lab = stack.enter_context(Lab(len(self._versions)))
            for number, version in enumerate(self._versions):
                lab.force_igmp_version(number, version)
            links.add_address(lab.source, LINK, f"{OTHER_SOURCE}/24")
            self.upstream = stack.enter_context(Capture(lab.source, protocol=IGMP))
            self.downstream = [stack.enter_context(Capture(each, protocol=IGMP)) for each in lab.receivers]
            self.mcfwd = stack.enter_context(self._start(stack))
            self.receivers = [stack.enter_context(Receiver(each)) for each in lab.receivers]
            for stream, address in ((0, SOURCE), (100, OTHER_SOURCE)) if self._senders else ():
                stack.enter_context(self.sender(address, *GROUPS, CHANNEL, stream=stream))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> Mcfwd:
        self.file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "mcfwd.toml"
        self.file.write_text(self._configuration)
        ports = ["-u", self.lab.upstream, *(word for name in self.lab.downstreams for word in ("-d", name))]
        named = "[[interface]]" in self._configuration
        return Mcfwd(self.lab.router, "-c", str(self.file), *([] if named else ports))

    def sender(self, source: str, *groups: str, stream: int = 200, rate: float = RATE) -> Sender:
        """A sender of `rate` datagrams a second to each group, numbered from `stream` on."""
        options = {"bind": source, "stream": stream, "rate": rate * len(groups), "size": 64, "burst": len(groups)}
        return Sender(self.lab.source, *groups, **options)

    def new_group(self) -> str:
        """A group that no test had before, of GROUPS where there are senders."""
        return next(self._free)

    # receivers

    def join(self, number: int, group: str, source: str = "") -> float:
        """Receiver `number` joins; returns when its report was on the wire."""
        joined = self.receivers[number].join(group, source)
        self._joined.append((number, group, source))
        return self.wait_said(number, group, joined).time

    def leave(self, number: int, group: str, source: str = "") -> float:
        """Receiver `number` leaves; returns the time at which."""
        self._joined.remove((number, group, source))
        return self.receivers[number].leave(group, source)

    def leave_all(self) -> None:
        """What the test has joined and not left is left."""
        for membership in list(self._joined):
            self.leave(*membership)

    # what was on the wire

    def said(self, number: int, group: str, since: float = 0.0) -> list[Told]:
        """What receiver `number` has said of `group`."""
        frames = self.downstream[number].select(lambda frame: frame.outgoing and frame.time >= since)
        return [each for frame in frames for each in told(frame) if each.group == group]

    def wait_said(self, number: int, group: str, since: float) -> Told:
        """The first thing that receiver `number` says of `group` from `since` on."""
        return wait_for(lambda: self.said(number, group, since), 5.0, f"receiver{number} on {group}")[0]

    def told_upstream(self, group: str = "", since: float = 0.0) -> list[Told]:
        """What mcfwd has told the upstream link of `group`, or of all."""
        frames = self.upstream.select(lambda frame: frame.source == UPSTREAM and frame.time >= since)
        return [each for frame in frames for each in told(frame) if group in ("", each.group)]

    def changes_upstream(self, group: str) -> list[tuple[str, tuple[str, ...]]]:
        """Kinds and sources of what was told of `group`, repetitions taken out."""
        changes = [(each.kind, each.sources) for each in self.told_upstream(group)]
        return [change for change, _ in itertools.groupby(changes)]

    def wait_told(self, group: str, kind: str, *sources: str, since: float = 0.0, timeout: float = 8.0) -> Told:
        """The first time from `since` on that mcfwd tells this upstream."""

        def found() -> list[Told]:
            told_of_it = self.told_upstream(group, since)
            return [each for each in told_of_it if (each.kind, each.sources) == (kind, sources)]

        return wait_for(found, timeout, f"{kind} {group} {sources} upstream")[0]

    def streams(self, stack: ExitStack) -> "list[Stream]":
        """From now on, the UDP of every downstream link."""
        return [Stream(stack.enter_context(Capture(each, protocol=UDP, snaplen=64))) for each in self.lab.receivers]

    def show(self, noun: str, group: str) -> list[dict[str, Any]]:
        """What `mcfwd show NOUN --json` prints of `group`."""
        status, output = exit_code(self.lab.router, ["show", noun, "--json", "--socket", self.mcfwd.socket])
        assert status == 0, output
        return [row for row in json.loads(output) if row["group"] == group]


class Stream:
    """The datagrams that one downstream link carried."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def frames(self, group: str, source: str = "", since: float = 0.0) -> list[Frame]:
        """Datagrams to `group`, of `source` or of any."""
        return self._capture.select(
            lambda frame: frame.destination == group and source in ("", frame.source) and frame.time >= since
        )

    def sources(self, group: str, since: float = 0.0) -> set[str]:
        """Who was heard sending to `group`."""
        return {frame.source for frame in self.frames(group, since=since)}

    def wait(self, group: str, source: str = "", since: float = 0.0, count: int = 1) -> Frame:
        """The datagram number `count` from `since` on, when it has come."""

        def enough() -> list[Frame]:
            return self.frames(group, source, since)[count - 1 :]

        return wait_for(enough, 5.0, f"{count} datagrams of {source or 'any'} to {group}")[0]

    def wait_end(self, group: str, timeout: float = 10.0) -> float:
        """Time of the last datagram, when none has come for QUIET."""

        def ended() -> list[Frame]:
            frames = self.frames(group)
            return frames[-1:] if time.monotonic() - frames[-1].time > QUIET else []

        return wait_for(ended, timeout, f"end of {group}")[0].time
