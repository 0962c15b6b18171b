"""What the supervisor lends its children: sockets of ports, each tagged with whose they are.

Descriptors come first, the configuration then names the port; a child uses a loan when both agree, and gives it back
when the configuration says another owner, or nothing. A port that is lent anew gets the new sockets in place of the
former ones: its ring was deaf, or it has another role.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

Key: TypeAlias = tuple[int, int, int]
"""Port index, assignment, ifindex: what is lent for one owner of an index is nobody else's."""


class Loan(NamedTuple):
    """What a child is told, and the descriptors that come with it, by name."""

    message: Mapping[str, Any]
    descriptors: Mapping[str, int]

    @property
    def key(self) -> Key:
        """Whose it is."""
        return self.message["port"], self.message["assigned"], self.message["ifindex"]


def loan(key: Key, generation: int, descriptors: Mapping[str, int], **more: int) -> Loan:
    """What is lent of the port of `key`, while the configuration of that `generation` is the latest."""
    port, assigned, ifindex = key
    whose = {"port": port, "assigned": assigned, "ifindex": ifindex, "generation": generation}
    return Loan({"type": "port", **whose, **more}, descriptors)


class Loans:
    """Those of a child, by key; `end` is called with a key before the descriptors of its loan are closed."""

    def __init__(self, end: Callable[[Key], None]) -> None:
        self._end = end
        self._loans: dict[Key, Loan] = {}

    def __iter__(self) -> Iterator[Loan]:
        return iter(self._loans.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._loans

    def __getitem__(self, key: Key) -> Loan:
        return self._loans[key]

    def take(self, lent: Loan) -> None:
        """Keep what is lent of a port, in place of what was."""
        for former in [each for each in self._loans if each[0] == lent.key[0]]:
            self._give_back(former)
        self._loans[lent.key] = lent

    def keep(self, keys: Collection[Key], generation: int) -> None:
        """Give back what is for none of these ports, which are those of `generation`; what is lent later may be."""
        for key in [key for key, lent in self._loans.items() if lent.message["generation"] <= generation]:
            if key not in keys:
                self._give_back(key)

    def _give_back(self, key: Key) -> None:
        self._end(key)
        for descriptor in self._loans.pop(key).descriptors.values():
            os.close(descriptor)
