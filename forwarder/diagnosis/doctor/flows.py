"""What an instance sees come in and does not forward, for a reason that lies outside of it. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import ExaminedFlow, Facts
from forwarder.diagnosis.doctor.finding import WARNING, Finding, Kind
from forwarder.units import count

TTL = Kind("sender with TTL 1", WARNING)
SOURCES = Kind("source outside altnets", WARNING)


def findings(facts: Facts) -> Iterator[Finding]:
    """One for each flow."""
    for flow in facts.flows:
        if flow.verdict == "ttl_expired":
            yield TTL.found(
                flow.group, f"{flow.source} sends {flow.group} with TTL 1, which no router may forward:"
                f" {count(flow.packets)} packets came to {flow.interface}",
                "have the sender use a larger TTL (IP_MULTICAST_TTL; ffmpeg ?ttl=16, vlc --ttl 16, iperf -T 16)",
            )  # fmt: skip
        elif flow.verdict == "source_not_allowed":
            yield _source(flow)


def _source(flow: ExaminedFlow) -> Finding:
    altnets = ", ".join(f'"{each}"' for each in (*(flow.altnets or ()), f"{flow.source}/32"))
    return SOURCES.found(
        flow.group, f"{flow.source} sends {flow.group} by {flow.interface}, but is in no subnet of it and in none of"
        " its altnets: nobody gets it",
        f"altnets = [{altnets}] in [[interface]] of {flow.interface}, or a network that holds it",
    )  # fmt: skip
