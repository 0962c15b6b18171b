"""What the supervisor lends its children: sockets of ports, each tagged with whose they are.

Descriptors come first, the configuration then names the port; a child uses a loan when both agree, and gives it back
when the configuration says another owner, or nothing. A port that is lent anew gets the new sockets in place of the
former ones: its ring was deaf or small, it has another role, or its link went and came back as it was.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

Key: TypeAlias = tuple[int, int, int, int]
"""Port index, assignment, ifindex, link type: what is lent for one owner of an index is nobody else's."""
WHOSE = ("port", "assigned", "ifindex", "link_type")


class Loan(NamedTuple):
    """What a child is told, and the descriptors that come with it, by name."""

    message: Mapping[str, Any]
    descriptors: Mapping[str, int]

    @property
    def key(self) -> Key:
        """Whose it is."""
        port, assigned, ifindex, link_type = (self.message[name] for name in WHOSE)
        return port, assigned, ifindex, link_type


def loan(key: Key, generation: int, descriptors: Mapping[str, int], **more: int) -> Loan:
    """What is lent of the port of `key`, while the configuration of that `generation` is the latest."""
    whose = dict(zip(WHOSE, key, strict=True))
    return Loan({"type": "port", **whose, "generation": generation, **more}, descriptors)


class Loans:
    """Those of a child, one a port; `end` is called with a key before the descriptors of its loan are closed."""

    def __init__(self, end: Callable[[Key], None] = lambda _: None) -> None:
        self._end = end
        self._loans: dict[int, Loan] = {}   # by port index

    def __iter__(self) -> Iterator[Loan]:
        return iter(self._loans.values())

    def __contains__(self, key: Key) -> bool:
        return key[0] in self._loans and self._loans[key[0]].key == key

    def __getitem__(self, key: Key) -> Loan:
        if key not in self:
            raise KeyError(key)
        return self._loans[key[0]]

    def take(self, lent: Loan) -> None:
        """Keep what is lent of a port, in place of what was."""
        index = lent.key[0]
        if index in self._loans:
            self._give_back(index)
        self._loans[index] = lent

    def used_up(self, key: Key) -> None:
        """The borrower has copies that it closes at the end of the loan: those that came with it are closed now."""
        lent = self[key]
        self._loans[key[0]] = lent._replace(descriptors={})
        for descriptor in lent.descriptors.values():
            os.close(descriptor)

    def keep(self, keys: Collection[Key], generation: int) -> None:
        """Give back what is for none of these ports, which are those of `generation`; what is lent later may be."""
        past = [lent.key for lent in self if lent.key not in keys and lent.message["generation"] <= generation]
        for index, *_ in past:
            self._give_back(index)

    def _give_back(self, index: int) -> None:
        self._end(self._loans[index].key)
        for descriptor in self._loans.pop(index).descriptors.values():
            os.close(descriptor)
