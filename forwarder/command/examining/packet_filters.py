"""Rules of nft and iptables, asked of their own programs where those are installed."""

from forwarder.command.examining.asked import Asked, program
from forwarder.diagnosis.doctor import rulesets
from forwarder.diagnosis.doctor.facts import FirewallFacts

LEGACY = "iptables-legacy-save"         # has what nft does not show
NONE = "neither nft nor iptables-save is installed: rules of packet filters were not looked at"


class PacketFilters:
    """Both are asked at once, so that one that hangs costs no more than two."""

    def __init__(self) -> None:
        nft, save = program("nft"), program("iptables-save")
        self._nft = Asked(nft, "-j", "list", "ruleset") if nft else None
        self._chains = Asked(nft, "list", "chains") if nft else None
        others = [save] if save and not nft else []     # which is a view of the same, mostly
        legacy = program(LEGACY)
        self._saves = [Asked(each) for each in dict.fromkeys((*others, *([legacy] if legacy else [])))]

    def facts(self) -> FirewallFacts:
        """What they say."""
        found = [self._of_nft()] if self._nft else []
        found += [_of_save(each) for each in self._saves]
        if not found:
            return FirewallFacts(unread=(NONE,))
        return FirewallFacts(*(tuple(each for part in parts for each in part) for parts in zip(*found, strict=True)))

    def _of_nft(self) -> FirewallFacts:
        assert self._nft
        assert self._chains
        text, trouble = self._nft.answer()
        chains, _ = self._chains.answer()
        try:
            return rulesets.of_nft(text, chains) if not trouble else _unread("nft", trouble)
        except ValueError:
            return _unread("nft", "an answer that is not understood")


def _of_save(asked: Asked) -> FirewallFacts:
    text, trouble = asked.answer()
    return rulesets.of_iptables(text) if not trouble else _unread("iptables-save", trouble)


def _unread(name: str, trouble: str) -> FirewallFacts:
    return FirewallFacts(unread=(f"rules of packet filters could not be read ({name}: {trouble})",))
