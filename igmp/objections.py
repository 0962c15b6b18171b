"""Joins in packets that were dropped or taken in part: what was refused of them, and by which rule.

Rules of this file: looks at a packet again that `igmp.packet.receive` has judged, and only at one that it refused
something of; what is damaged asked for nothing.
"""

from dataclasses import dataclass

from igmp.filter import Filter, Mode, include
from igmp.link import Link, format_address, is_unicast
from igmp.messages import MalformedMessage, Report, parse, verify
from igmp.parameters import PortOptions
from igmp.refused import Objection, RefusedJoins, asked, of_lists
from igmp.tracking import key_of
from igmp.validation import is_trackable

REFUSING = frozenset((
    "rx_own", "rx_bad_source", "rx_bad_ttl", "rx_no_router_alert", "rx_bad_dst", "rx_ssm_legacy", "rx_boundary",
))  # fmt: skip
REFUSING_RECORDS = frozenset(("rx_boundary", "rx_ssm_exclude"))     # of a packet that was taken

_ROUTER_ALERT = Objection("router_alert", "require_router_alert")
_TTL = Objection("ttl", "accept_any_ttl")
_OFF_SUBNET = Objection("off_subnet", "altnets")


@dataclass(frozen=True, slots=True)
class Judge:
    """By what a downstream port judges reports."""

    link: Link
    options: PortOptions

    def packet(self, counter: str, source: int, destination: int) -> Objection | None:
        """Why a packet that was dropped as `counter` was refused whole; None: for what it asks."""
        match counter:
            case "rx_bad_ttl":
                return _TTL
            case "rx_no_router_alert":
                return _ROUTER_ALERT
            case "rx_bad_source":
                return _OFF_SUBNET
            case "rx_own":
                return Objection("own_address", f"own address {format_address(source)}")
            case "rx_bad_dst":
                return Objection("destination", f"destination {format_address(destination)}")
        return None

    def record(self, wanted: Filter, group: int, version: int) -> tuple[Filter, Objection] | None:
        """What is refused of a wish in a packet that was sound, and why; None: nothing."""
        ssm = next((each for each in self.options.rules.ssm_range if each.contains(group)), None)
        if (version < 3 or wanted.mode is Mode.EXCLUDE) and ssm is not None:
            return wanted, Objection("version" if version < 3 else "ssm", f"ssm_range {ssm}")
        if wanted.mode is Mode.EXCLUDE:
            objection = of_lists(self.options, None, group)
            return None if objection is None else (wanted, objection)
        sources = [source for source in wanted.sources if not self.options.access.admits(source, group)]
        objection = of_lists(self.options, sources[0], group) if sources else None
        return None if objection is None else (include(sources), objection)

    def is_elsewhere(self, source: int) -> bool:
        """Whether an address is a host's, and of another link."""
        return is_unicast(source) and not self.link.on_link(source)


def note(refusals: RefusedJoins, judge: Judge, packet: bytes, counter: str, mac: int, now: float) -> None:
    """Note what was refused of a packet heard downstream, which was dropped as `counter`; empty: taken in part."""
    source, destination = int.from_bytes(packet[12:16]), int.from_bytes(packet[16:20])
    report = _report(packet) if refusals.has_time(now) else None
    if report is None or (counter == "rx_bad_source" and not judge.is_elsewhere(source)):
        return
    whole, host = judge.packet(counter, source, destination), key_of(source, mac)
    for record in report.records:
        wanted = asked(record)
        if not wanted:
            refusals.settle(host, record)
        elif is_trackable(record.group):
            refused = (wanted, whole) if whole else judge.record(wanted, record.group, report.version)
            if refused:
                refusals.refuse(host, mac, record.group, *refused, now)


def _report(packet: bytes) -> Report | None:
    """The report in a packet whose IPv4 header is sound."""
    data = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])]
    try:
        verify(data)
        message = parse(data)
    except MalformedMessage:
        return None
    return message if isinstance(message, Report) else None
