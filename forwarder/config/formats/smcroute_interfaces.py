"""The interfaces of smcroute.conf: those of phyint lines, and those that routes and groups name besides.

Without a phyint line an interface is served too, as by smcrouted without -N. What is joined by a wildcard is joined on
interfaces that have an entry of their own as well: here entries do not add up. Pure.
"""

from collections.abc import Callable, Iterable

from forwarder.config.formats import meanings
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.smcroute_lines import Line
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.rules import name_problem, quote
from forwarder.state.settings import covers, is_wildcard

MOST_WILDCARDS = 64         # each is looked at for each name
MOST_JOINED = 65536         # memberships: a MiB of settings is all that can be published

Tell = Callable[[Origin, str], None]


class Interfaces:
    """Goes into `translation`; what to know of it goes to `tell`."""

    def __init__(self, translation: Translation, problems: Problems, tell: Tell) -> None:
        self._translation, self._problems, self._tell = translation, problems, tell
        self._phyints: dict[str, Line] = {}
        self._wildcards: dict[str, None] = {}               # of all statements
        self._joined: dict[str, dict[str, Origin]] = {}     # by interface
        self._has_enabled, self._memberships = False, 0

    def phyint(self, said: Line) -> None:
        """`phyint IF [enable|disable] [mrdisc] [ttl-threshold N]`; of several for an interface the last one counts."""
        name, least = self.name(said.name, said.origin), self._threshold(said)
        if name is None or least is None:
            return
        if name in self._phyints:
            former = self._phyints[name].origin.place
            self._tell(said.origin, f"{name} had another phyint line, {former}: this one counts")
        self._phyints[name] = said
        self._has_enabled |= "enable" in said.words
        at = self._translation.interface(name, said.origin)
        role = "disabled" if "disable" in said.words else "both"
        self._translation.say(("interface", at, "role"), role, said.origin)
        if "ttl-threshold" in said.words and role == "both":
            self._pass_above(at, least, said.origin)
        if "mrdisc" in said.words:
            words = "is not advertised as a multicast router (RFC 4286): switches learn it by join, or a router port"
            self._tell(said.origin, f"{name} {words}")

    def name(self, text: str, origin: Origin) -> str | None:
        """An interface or wildcard as it is called here; None, and a problem, where it cannot be one."""
        name = f"{text[:-1]}*" if text.endswith("+") else text
        problem = name_problem(name)
        if problem is None and is_wildcard(name):
            self._wildcards[name] = None
            if len(self._wildcards) > MOST_WILDCARDS:
                problem = f"there are more than {MOST_WILDCARDS} wildcards"
        if problem:
            self._problems.add(origin, problem)
            return None
        return name

    def serve(self, name: str, origin: Origin, what: str) -> bool:
        """See that an interface is one of ours; False, and told, where a phyint line disables it."""
        known = self._phyint_of(name)
        if known is not None and "disable" in known.words:
            self._tell(origin, f"{name} is disabled by a phyint line: {what} is left out")
            return False
        at = self._translation.interface(name, origin)
        if "role" not in self._translation.tables["interface"][at]:
            self._add(at, name, known, origin)
        return True

    def has_room(self, count: int, origin: Origin) -> bool:
        """Whether so many memberships more can be joined; False, and a problem, where they cannot."""
        self._memberships += count
        if self._memberships > MOST_JOINED:
            self._problems.add(origin, f"more than {MOST_JOINED} groups and sources would be joined")
        return self._memberships <= MOST_JOINED

    def join(self, name: str, memberships: Iterable[str], origin: Origin) -> None:
        """These, for which there is room, are joined on an interface that is served."""
        joined = self._joined.setdefault(name, {})
        for each in memberships:
            joined.setdefault(each, origin)

    def finish(self) -> None:
        """Write down what is joined."""
        names = [table["name"] for table in self._translation.tables.get("interface", ()) if table["role"] == "both"]
        for wildcard in [name for name in self._joined if is_wildcard(name)]:
            for name in names:
                joined = self._joined[wildcard]
                meant = name != wildcard and covers(wildcard, name)
                if meant and self.has_room(len(joined), next(iter(joined.values()))):
                    self._joined[name] = joined | self._joined.get(name, {})
        for name, joined in self._joined.items():
            origin = next(iter(joined.values()))
            at = self._translation.interface(name, origin)
            self._translation.say(("interface", at, "join"), list(joined), origin)
            for number, each in enumerate(joined.values()):     # not one by one: a list may be long
                self._translation.origins["interface", at, "join", number] = each

    def _add(self, at: int, name: str, known: Line | None, origin: Origin) -> None:
        """An interface without a phyint line of its own, but perhaps `known` by one for a wildcard."""
        self._translation.say(("interface", at, "role"), "both", origin)
        if known is not None and "ttl-threshold" in known.words and (least := self._threshold(known)):
            meanings.threshold_above(self._translation, at, least, known.origin)
        elif known is None and self._has_enabled:
            self._tell(origin, f"{name} has no phyint line: it is served, as by smcrouted without -N")

    def _phyint_of(self, name: str) -> Line | None:
        """The line that speaks of an interface: its own, or else the first of a wildcard."""
        if name in self._phyints:
            return self._phyints[name]
        meant = (each for each in self._wildcards if each in self._phyints and covers(each, name))
        return self._phyints.get(next(meant, ""))

    def _threshold(self, said: Line) -> int | None:
        """TTL that does not pass; None, and a problem, where that is no number."""
        if "ttl-threshold" not in said.words:
            return 1
        text = "".join(said.words["ttl-threshold"])
        if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 255:
            return int(text)
        self._problems.add(said.origin, f"ttl-threshold should be 1 to 255, not {quote(text)}")
        return None

    def _pass_above(self, at: int, least: int, origin: Origin) -> None:
        meanings.threshold_above(self._translation, at, least, origin)
        if least > 1:
            words = f"ttl-threshold {least} passes TTL above {least}, and is looked at where datagrams leave"
            self._tell(origin, f"{words}: it is {least + 1}")
