"""Addresses by the thousand against networks, tables and access lists (`igmp.access`). Pure."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from igmp.access import AccessList, Entry
from igmp.link import Network

Addresses: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def admits(access: AccessList, sources: Addresses, groups: Addresses) -> Mask:
    """Whether each (source, group) may pass; all three of shape (n,).

    Of several rules that name a flow the first counts, so they are written over each other from the last to the first,
    those in a row that say the same together.
    """
    passing = np.full(len(groups), access.admits_others)
    for allows, row in reversed(access.rows):
        named = _named(row, sources, groups)
        passing = passing | named if allows else passing > named        # of truth values: and not
    return passing > _named(map(Entry, access.boundary), sources, groups)


def entries(access: AccessList) -> int:
    """How many comparisons a flow costs."""
    return len(access.rules) + len(access.boundary)


def inside(network: Network, addresses: Addresses) -> Mask:
    """Which of the addresses are in `network`."""
    host_bits = np.uint64(32 - network.prefix)
    found: Mask = addresses >> host_bits == np.uint64(network.address) >> host_bits
    return found


def contains(table: Addresses, values: Addresses) -> Mask:
    """Which of the values are in an ascending table."""
    if not len(table):
        return np.zeros(len(values), np.bool_)
    found: Mask = table.take(np.searchsorted(table, values), mode="clip") == values
    return found


def _named(listed: Iterable[Entry], sources: Addresses, groups: Addresses) -> Mask:
    """Which (source, group) an entry names."""
    found = np.zeros(len(groups), np.bool_)
    for entry in listed:
        if entry.source is None:
            found |= inside(entry.group, groups)
        else:
            found |= inside(entry.group, groups) & inside(entry.source, sources)
    return found
