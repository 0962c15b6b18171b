"""Packet filters: those of the IP stack, which matter to programs of this host, and those that see our frames. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, InterfaceFacts
from forwarder.diagnosis.doctor.finding import NOTE, WARNING, Finding, Kind, command
from forwarder.units import listed

FRAMES = Kind("filter before us", WARNING)
SEEING = Kind("hook that sees our frames", NOTE)
TRAFFIC = Kind("traffic control filter", NOTE)
HOST = Kind("filter for programs", NOTE)
UNREAD = Kind("filters not read", NOTE)


def findings(facts: Facts) -> Iterator[Finding]:
    """Hooks of other devices than ours are nobody's business here."""
    ours, firewall = {each.name for each in facts.interfaces}, facts.firewall
    for rule in firewall.rules:
        if seen := ours.intersection(rule.devices):
            names = listed(sorted(seen))
            words = f"{rule.place} on {names} drops ({rule.text}), and sees what mcfwd receives or sends there"
            yield FRAMES.mended(names, words, rule.remedy)
        elif not rule.devices:
            words = (f"{rule.place} drops ({rule.text}): that does not stop mcfwd, whose packet sockets are outside of"
                     " it, but programs of this host that send or receive multicast")  # fmt: skip
            yield HOST.mended("firewall", words, rule.remedy)
    for place, devices in firewall.seeing:
        if seen := ours.intersection(devices):
            names = listed(sorted(seen))
            words = f"{place} on {names} sees what mcfwd receives or sends there; none of its rules drops"
            yield SEEING.found(names, words, "nothing to do, as long as it drops nothing")
    for each in facts.interfaces:
        yield from _traffic(each)
    for words in firewall.unread:
        yield UNREAD.found("firewall", words, "run mcfwd doctor as root where nft or iptables-save are installed")


def _traffic(each: InterfaceFacts) -> Iterator[Finding]:
    for way, preference, kind in each.traffic_filters:
        yield TRAFFIC.mended(
            each.name, f"a filter of tc ({kind}) at the {way} of {each.name} sees what mcfwd"
            f" {'receives' if way == 'ingress' else 'sends'} there, and may drop or redirect it",
            command("tc", "filter", "del", "dev", each.name, way, "pref", str(preference)), "if it is not wanted",
        )  # fmt: skip
