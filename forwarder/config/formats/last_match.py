"""igmpproxy's whitelist and blacklist as lists of which one always wins. Pure.

There the last entry that matches a group decides, and where any is a whitelist what none matches is refused. Here
`deny` wins over `allow`, so a blacklist entry loses what later whitelist entries give back.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from typing import Generic, NamedTuple, TypeVar

O = TypeVar("O")        # noqa: E741 - an origin
MOST_MIXED = 500        # entries of both kinds at one interface: each is compared with each
MOST_PARTS = 5000       # networks of `deny`, 24 of which may be what is left of one entry behind another


class ListEntry(NamedTuple, Generic[O]):
    """One, in the order of the file."""

    network: IPv4Network
    is_allowed: bool
    origin: O


def lists(entries: Sequence[ListEntry[O]]) -> tuple[list[tuple[str, O]], list[tuple[str, O]]]:
    """`allow` and `deny` with their origins; where there is no whitelist `allow` is empty, which is all.

    ValueError: too many of both kinds.
    """
    allowed = [(str(entry.network), entry.origin) for entry in entries if entry.is_allowed]
    if not allowed:
        return [], [(str(entry.network), entry.origin) for entry in entries]
    if len(allowed) < len(entries) and len(entries) > MOST_MIXED:
        raise ValueError(f"more than {MOST_MIXED} entries of whitelist and blacklist together")
    denied: dict[str, O] = {}
    for at, entry in enumerate(entries):
        if not entry.is_allowed:
            given_back = (each.network for each in entries[at:] if each.is_allowed)
            denied |= {str(part): entry.origin for part in _without(entry.network, given_back)}
        if len(denied) > MOST_PARTS:
            raise ValueError("whitelist and blacklist are too entangled: write the whitelist alone")
    return allowed, list(denied.items())


def _without(network: IPv4Network, others: Iterator[IPv4Network]) -> Iterator[IPv4Network]:
    """What is left of a network, in as few networks as there can be."""
    at, end = int(network.network_address), int(network.broadcast_address)
    spans = ((int(each.network_address), int(each.broadcast_address)) for each in others)
    for first, last in sorted(span for span in spans if span[1] >= at and span[0] <= end):
        if first > at:
            yield from summarize_address_range(IPv4Address(at), IPv4Address(first - 1))
        at = max(at, last + 1)
    if at <= end:
        yield from summarize_address_range(IPv4Address(at), IPv4Address(end))
