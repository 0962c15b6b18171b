"""What the lists of an interface say, as every process reads them. Pure."""

from functools import lru_cache

from forwarder.state.settings import InterfaceSettings
from igmp.access import OPEN, AccessList, Entry, Rule
from igmp.link import Network

Texts = tuple[str, ...]
EVERYTHING = Rule.parse("deny 224.0.0.0/4")


def access_of(settings: InterfaceSettings) -> AccessList:
    """Who may pass a port, as memberships and as data."""
    return _access(settings.allow, settings.deny, settings.boundary, settings.access)


def contribution_of(settings: InterfaceSettings) -> AccessList:
    """What of a downstream port's memberships is reported upstream: of an empty list nothing, of none everything."""
    return OPEN if settings.contribute is None else _contribution(settings.contribute)


@lru_cache(maxsize=4096)
def _access(allow: Texts, deny: Texts, boundary: Texts, ordered: Texts) -> AccessList:
    """The lists that these texts say; one object for all the ports of a wildcard, and OPEN for those without."""
    if not (allow or deny or boundary or ordered):
        return OPEN
    return AccessList(
        allow=tuple(map(Entry.parse, allow)),
        deny=tuple(map(Entry.parse, deny)),
        boundary=tuple(map(Network.parse, boundary)),
        ordered=tuple(map(Rule.parse, ordered)),
    )


@lru_cache(maxsize=4096)
def _contribution(texts: Texts) -> AccessList:
    return AccessList(ordered=tuple(map(Rule.parse, texts)) or (EVERYTHING,))
