"""What stands below a table: interfaces that do not work as they should, why, and what helps. Pure."""

from collections.abc import Iterable
from typing import Any

from forwarder.units import listed

Row = dict[str, Any]
HELP = {
    "down": "not set up (ip link set NAME up), or nothing at its other end",
    "missing": "there is no such interface now (ip link); it is waited for",
}
REPORTS = ("report_v1", "report_v2", "report_v3")


def of_interfaces(rows: Iterable[Row]) -> list[str]:
    """Of rows of `show interfaces`, a line for each reason."""
    found = list(rows)
    ill = [(row["name"], row["degraded"]) for row in found if row.get("degraded")]
    away = [(row["name"], row["state"]) for row in found if not row.get("degraded")]
    states = [line for state in HELP for line in _lines([each for each in away if each[1] == state], state)]
    return [*states, *degraded(ill)]


def of_emptiness(rows: Iterable[Row]) -> list[str]:
    """Why nobody may have joined anything, of rows of `show interfaces`: they do not work, or roles are swapped."""
    found = list(rows)
    return [*of_interfaces(found), *(line for role in ("upstream", "both") for line in _swapped(found, role))]


def _swapped(found: Iterable[Row], role: str) -> list[str]:
    """A line where hosts ask on interfaces of a role that serves nobody."""
    heard = [row["name"] for row in found if row["role"] == role and any(map(row["igmp"].get, REPORTS))]
    words = f"hosts on {listed(heard)} ask for groups, but it is {role}: only downstream interfaces serve receivers"
    return [words] if heard else []


def degraded(ill: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason of (interface, reason), with those that have it: a limit is often met by many at once."""
    return _lines(ill, "degraded")


def _lines(named: Iterable[tuple[str, str]], state: str) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name, reason in named:
        reasons.setdefault(HELP.get(reason, reason), []).append(name)
    return [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {state}: {why}" for why, names in reasons.items()]
