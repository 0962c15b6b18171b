"""Rows in the order of one of their keys, whatever its values are. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]


def ordered(rows: Iterable[Row], key: str, *, descending: bool = False) -> list[Row]:
    """`rows` by the values of `key`, those of equal value as they were; without a value last, whichever way.

    Addresses are in the order of their numbers, lists in that of their first elements, tables of counters in that of
    their sums. KeyError where a row has no such key.
    """
    found = list(rows)
    valued = [row for row in found if row[key] is not None]
    return [
        *sorted(valued, key=lambda row: rank(row[key]), reverse=descending),
        *(row for row in found if row[key] is None),
    ]


def rank(value: Any) -> Any:
    """What compares as the value should."""
    if isinstance(value, str):
        return _numbers(value), value
    if isinstance(value, Mapping):
        return rank(value["address"]) if "address" in value else total(value)
    return [rank(each) for each in value] if isinstance(value, list) else value


def total(value: Any) -> Any:
    """The sum of the counters in a table, of tables too."""
    return sum(map(total, value.values())) if isinstance(value, Mapping) else value


def _numbers(text: str) -> tuple[int, ...]:
    """Of an address or network; nothing of any other text."""
    parts = text.replace("/", ".").split(".")
    numbers = len(parts) in (4, 5) and all(part.isascii() and part.isdecimal() and len(part) < 4 for part in parts)
    return tuple(map(int, parts)) if numbers else ()
