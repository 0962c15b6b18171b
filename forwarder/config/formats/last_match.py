"""igmpproxy's whitelist and blacklist as lists of which one always wins. Pure.

There the last entry that matches a group decides, and where any is a whitelist what none matches is refused. Here
`deny` wins over `allow`, so a blacklist entry loses what later whitelist entries give back.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Generic, NamedTuple, TypeVar

O = TypeVar("O")        # noqa: E741 - an origin
MOST_MIXED = 500        # entries of both kinds at one interface: each is compared with each


class ListEntry(NamedTuple, Generic[O]):
    """One, in the order of the file."""

    network: IPv4Network
    is_allowed: bool
    origin: O


def lists(entries: Sequence[ListEntry[O]]) -> tuple[list[tuple[str, O]], list[tuple[str, O]]]:
    """`allow` and `deny` with their origins; where there is no whitelist `allow` is empty, which is all.

    ValueError: too many of both kinds.
    """
    allowed = [entry for entry in entries if entry.is_allowed]
    denied = [entry for entry in entries if not entry.is_allowed]
    if allowed and denied and len(entries) > MOST_MIXED:
        raise ValueError(f"more than {MOST_MIXED} entries of whitelist and blacklist together")
    deny = []
    for at, entry in enumerate(entries):
        if not entry.is_allowed:
            given_back = [each.network for each in entries[at:] if each.is_allowed] if allowed else []
            deny += [(str(part), entry.origin) for part in _without(entry.network, given_back)]
    return [(str(entry.network), entry.origin) for entry in allowed], deny


def _without(network: IPv4Network, others: Sequence[IPv4Network]) -> Iterator[IPv4Network]:
    """What is left of a network, in as few networks as there can be."""
    left = [network]
    for other in others:
        left = [part for each in left for part in _rest(each, other)]
    yield from left


def _rest(network: IPv4Network, other: IPv4Network) -> Iterator[IPv4Network]:
    if network.subnet_of(other):
        return
    if other.subnet_of(network):
        yield from network.address_exclude(other)
    else:
        yield network
