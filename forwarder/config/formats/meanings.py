"""What several formats mean alike, and what it becomes here."""

from forwarder.config.formats.translation import Origin, Translation
from igmp.link import Network, format_address, is_multicast

MULTICAST = Network.parse("224.0.0.0/4")


def sources(translation: Translation, at: int, text: str, origin: Origin) -> None:
    """An entry of a list of source networks (altnet, alt-subnet) of interface `at`.

    People write groups there, which no source can be: they are taken for what they were meant as, a list of groups.
    """
    network = masked(translation, text, origin)
    if is_groups(network):
        words = f"{network} are groups, not networks of sources: taken as a list of groups (allow)"
        translation.warn(origin, words)
        if network != str(MULTICAST):   # all of them: nothing to be said
            translation.add(("interface", at, "allow"), network, origin)
    else:
        translation.add(("interface", at, "altnets"), network, origin)


def groups(translation: Translation, at: int, text: str, origin: Origin, key: str = "allow") -> None:
    """An entry of a list of groups (whitelist, blacklist) of interface `at`; networks of hosts have no place there."""
    network = masked(translation, text, origin)
    if is_groups(network) or network == "0.0.0.0/0":
        translation.add(("interface", at, key), str(MULTICAST) if network == "0.0.0.0/0" else network, origin)
    else:
        words = f"{network} is a network of hosts, and this is a list of groups: left out (see altnets for sources)"
        translation.warn(origin, words)


def threshold_above(translation: Translation, at: int, least: int, origin: Origin) -> None:
    """A threshold of the kernel's multicast routing at interface `at`, once its role is known: the TTL that passes it
    is above `least`, not at least as high, and it is looked at where a datagram leaves, so upstream it says nothing."""
    if translation.tables["interface"][at].get("role") != "upstream":
        translation.say(("interface", at, "threshold"), least + 1, origin)
    elif least > 1:
        translation.warn(origin, f"threshold {least} is looked at where datagrams leave: upstream it has no meaning")


def masked(translation: Translation, text: str, origin: Origin) -> str:
    """A network without host bits, which are told of; ValueError where it is none. A single address is a /32."""
    network = Network.parse(text)
    plain = Network(network.network_address, network.prefix)
    if plain != network:
        translation.warn(origin, f"{text} has host bits set: taken as {plain}")
    return format_address(plain.address) if plain.prefix == 32 else str(plain)


def is_groups(network: str) -> bool:
    """Whether a network holds groups and nothing else."""
    parsed = Network.parse(network)
    return parsed.prefix >= MULTICAST.prefix and is_multicast(parsed.address)
