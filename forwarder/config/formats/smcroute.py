"""smcroute.conf(5), as smcrouted 2.5 reads it: static multicast routes, and groups that are joined for switches.

It has no roles: an interface is `both`. Its threshold N is that of the kernel, which passes TTL > N where a datagram
leaves: N + 1, which `both` looks at there alone. Whether smcrouted was started with -N cannot be seen in the file: what
routes and groups name is served, whether it has a phyint line or not, unless that says `disable`.
"""

from pathlib import Path

from forwarder.config.formats.problems import Problems
from forwarder.config.formats.smcroute_interfaces import Interfaces
from forwarder.config.formats.smcroute_lines import Line, Reader
from forwarder.config.formats.smcroute_routes import Routes, StaticRoute
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.rules import groups_problem, quote
from forwarder.state.settings import is_wildcard
from forwarder.units import visible
from igmp.link import Network, format_address, is_unicast

FORMAT = "smcroute"
MOST_OF_ONE = 1024          # memberships of one line
MOST_NOTICES = 256          # more of a file are told as one
LINK_LOCAL = Network.parse("224.0.0.0/24")
SSM = Network.parse("232.0.0.0/8")
OURS = frozenset(("enable", "disable", "mrdisc", "ttl-threshold"))
"""Options of a phyint that igmpproxy does not have."""


def recognises(text: str, path: Path) -> bool:
    """Whether a text looks like smcroute.conf: by the first line that tells, or else by the file's name."""
    for line in text.split("\n"):
        if not line or not (said := line.partition("#")[0].split()):
            continue
        kind, *words = said
        if kind in ("mgroup", "mroute", "ssmgroup"):
            return "from" in words
        if kind == "phyint" and len(words) > 1:
            return not OURS.isdisjoint(words[1:])
        if kind not in ("phyint", "include"):
            return False
    return path.name.startswith("smcroute") and path.suffix == ".conf"


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What a file says; ConfigurationError with a line a problem, each with file and line."""
    problems = Problems()
    said = list(Reader(outside, problems).statements(text, path))
    translator = Translator(problems)
    for kind in ("phyint", "mgroup", "mroute"):     # whatever stands first: what an interface is must be known
        for statement in said:
            if statement.kind == kind:
                translator.take(statement)
    problems.refuse()
    translator.finish()
    problems.refuse()
    return translator.translation


class Translator:
    """Statements in, tables out."""

    def __init__(self, problems: Problems) -> None:
        self.translation = Translation(FORMAT)
        self._problems = problems
        self._interfaces = Interfaces(self.translation, problems, self._tell)
        self._routes = Routes(self._tell)
        self._noticed = 0

    def take(self, said: Line) -> None:
        """The next statement."""
        {"phyint": self._interfaces.phyint, "mgroup": self._mgroup, "mroute": self._mroute}[said.kind](said)

    def finish(self) -> None:
        """Write down what all statements together say."""
        for route in self._routes:
            source = {} if route.source is None else {"source": _text(route.source)}
            keys = {"group": _text(route.group), **source, "upstream": route.ingress, "interfaces": [*route.out]}
            self.translation.route(keys, route.origin)
        self._interfaces.finish()

    def _mgroup(self, said: Line) -> None:
        """`mgroup from IF [source ADDRESS[/LEN]] group ADDRESS[/LEN]`: each group, of each source, is joined."""
        name, networks = self._interfaces.name(said.words["from"][0], said.origin), self._networks(said)
        if name is None or networks is None:
            return
        group, source = (None if text is None else Network.parse(text) for text in networks)
        assert group is not None
        count = 1 << 32 - group.prefix + (32 - source.prefix if source else 0)
        if count > MOST_OF_ONE:
            self._problems.add(said.origin, f"{count} groups and sources of one line: at most {MOST_OF_ONE} are joined")
            return
        if self._link_local(group, said.origin, "joined") or not self._interfaces.serve(name, said.origin, "the group"):
            return
        if source is None and SSM.contains(group.address):
            self._allow_any_source(said.origin)
        if self._interfaces.has_room(count, said.origin):
            self._interfaces.join(name, _members(group, source), said.origin)

    def _allow_any_source(self, origin: Origin) -> None:
        if "igmp" not in self.translation.tables:
            words = "joins a group of 232.0.0.0/8 for any source, which RFC 4607 has not: ssm_range is empty for that"
            self._tell(origin, words)
            self.translation.say(("igmp", "ssm_range"), [], origin)

    def _mroute(self, said: Line) -> None:
        """`mroute from IIF [source ADDRESS[/LEN]] group ADDRESS[/LEN] [to OIF...]`; without OIF it blocks."""
        ingress, networks = self._interfaces.name(said.words["from"][0], said.origin), self._networks(said)
        ways = [self._interfaces.name(text, said.origin) for text in said.words.get("to", ())]
        if ingress is None or networks is None or None in ways:
            return
        if self._link_local(Network.parse(networks[0]), said.origin, "forwarded"):
            return
        if not self._interfaces.serve(ingress, said.origin, "the route"):
            return
        out = {name: None for name in dict.fromkeys(ways) if name and self._leads_to(name, ingress, said.origin)}
        if ways and not out:
            self._tell(said.origin, "no interface is left that it leads to, so it blocks")
        group, source = (None if text is None else Network.parse(text) for text in networks)
        assert group is not None
        self._routes.add(StaticRoute(ingress, group, source, out, said.origin))

    def _leads_to(self, name: str, ingress: str, origin: Origin) -> bool:
        if name == ingress and not is_wildcard(name):
            self._tell(origin, f"{name} is where it comes in, and is left out of where it goes")
            return False
        return self._interfaces.serve(name, origin, "the way there")

    def _networks(self, said: Line) -> tuple[str, str | None] | None:
        """Group and source (None: any) without host bits; None, and told, where there is none of ours."""
        group, source = said.words["group"][0], said.words.get("source", [""])[0]
        if ":" in group or ":" in source:
            self._tell(said.origin, "is about IPv6, which is not forwarded here: left out")
            return None
        try:
            groups = self._masked(group, said.origin)
        except ValueError:
            self._problems.add(said.origin, f'group should be as "239.1.2.3" or "239.1.0.0/16", not {quote(group)}')
            return None
        if problem := groups_problem(groups):
            self._problems.add(said.origin, problem)
            return None
        return self._source(groups, source, said.origin)

    def _source(self, groups: str, source: str, origin: Origin) -> tuple[str, str | None] | None:
        if not source:
            return groups, None
        try:
            sources = self._masked(source, origin)
        except ValueError:
            self._problems.add(origin, f'source should be as "10.0.0.7" or "10.0.0.0/24", not {quote(source)}')
            return None
        if sources == "0.0.0.0" or sources.endswith("/0"):
            return groups, None
        if not is_unicast(Network.parse(sources).address):
            self._problems.add(origin, f"{quote(source)} cannot be a source")
            return None
        return groups, sources

    def _masked(self, text: str, origin: Origin) -> str:
        """A network without host bits, which are told of; ValueError."""
        network = Network.parse(text)
        plain = Network(network.network_address, network.prefix)
        if plain != network:
            self._tell(origin, f"{text} has host bits set: taken as {plain}")
        return _text(plain)

    def _link_local(self, group: Network, origin: Origin, verb: str) -> bool:
        local = group.prefix >= LINK_LOCAL.prefix and LINK_LOCAL.contains(group.address)
        if local:
            self._tell(origin, f"{group} is link-local and never {verb} (RFC 5771): left out")
        return local

    def _tell(self, origin: Origin, words: str) -> None:
        self._noticed += 1
        if self._noticed < MOST_NOTICES:
            self.translation.warn(origin, visible(words))
        elif self._noticed == MOST_NOTICES:
            self.translation.warn(origin, "there is more to be told of this line and others, which is left out")


def _members(group: Network, source: Network | None) -> list[str]:
    """Each group that is no link-local one, with each source, as `join` has them."""
    groups = [each for each in _addresses(group) if not LINK_LOCAL.contains(each)]
    if source is None:
        return [format_address(each) for each in groups]
    sources = [each for each in _addresses(source) if is_unicast(each)]
    return [f"{format_address(each)},{format_address(of)}" for of in groups for each in sources]


def _text(network: Network) -> str:
    return format_address(network.address) if network.prefix == 32 else str(network)


def _addresses(network: Network) -> range:
    return range(network.network_address, network.broadcast + 1)
