"""smcroute.conf(5), as smcrouted 2.5 reads it: static multicast routes, and groups that are joined for switches.

It has no roles: an interface is `both`. Its threshold N is that of the kernel, which passes TTL > N where a datagram
leaves: N + 1, which `both` looks at there alone. Whether smcrouted was started with -N cannot be seen in the file: what
routes and groups name is served, whether it has a phyint line or not, unless that says `disable`.
"""

from pathlib import Path

from forwarder.config.formats import meanings
from forwarder.config.formats.smcroute_lines import Problems, Reader, Statement
from forwarder.config.formats.smcroute_routes import Routes, StaticRoute
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.rules import groups_problem, name_problem, quote
from forwarder.state.settings import covers, is_wildcard
from igmp.link import Network, format_address, is_unicast

FORMAT = "smcroute"
MOST_OF_ONE = 1024          # memberships of one line
MOST_JOINED = 65536         # of all lines: a MiB of settings is all that can be published
MOST_NOTICES = 256          # more of a file are told as one
LINK_LOCAL = Network.parse("224.0.0.0/24")
SSM = Network.parse("232.0.0.0/8")
OURS = frozenset(("enable", "disable", "mrdisc", "ttl-threshold"))
"""Options of a phyint that igmpproxy does not have."""


def recognises(text: str, path: Path) -> bool:
    """Whether a text looks like smcroute.conf: by the first line that tells, or else by the file's name."""
    for line in text.split("\n"):
        kind, *words = line.partition("#")[0].split() or [""]
        if kind in ("mgroup", "mroute", "ssmgroup"):
            return "from" in words
        if kind == "phyint" and len(words) > 1:
            return not OURS.isdisjoint(words[1:])
        if kind and kind not in ("phyint", "include"):
            return False
    return path.name.startswith("smcroute") and path.suffix == ".conf"


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What a file says; ConfigurationError with a line a problem, each with file and line."""
    problems = Problems()
    said = list(Reader(outside, problems).statements(text, path))
    translator = Translator(problems)
    steps = {"phyint": translator.phyint, "mgroup": translator.mgroup, "mroute": translator.mroute}
    for kind, carry_out in steps.items():
        for statement in said:
            if statement.kind == kind:
                carry_out(statement)
    problems.refuse(Origin(path, text.count("\n") + 1))
    translator.finish()
    return translator.translation


class Translator:
    """Statements in, the interfaces first; tables out."""

    def __init__(self, problems: Problems) -> None:
        self.translation = Translation(FORMAT)
        self._problems = problems
        self._phyints: dict[str, Statement] = {}
        self._joined: dict[str, dict[str, Origin]] = {}     # by interface
        self._memberships = 0
        self._routes = Routes(self._tell)
        self._noticed = 0

    # interfaces

    def phyint(self, said: Statement) -> None:
        """`phyint IF [enable|disable] [mrdisc] [ttl-threshold N]`; of several for an interface the last one counts."""
        name = self._name(said.name, said.origin)
        least = self._threshold(said)
        if name is None or least is None:
            return
        if name in self._phyints:
            former = self._phyints[name].origin.place
            self._tell(said.origin, f"{name} had another phyint line, {former}: this one counts")
        self._phyints[name] = said
        at = self.translation.interface(name, said.origin)
        role = "disabled" if "disable" in said.words else "both"
        self.translation.say(("interface", at, "role"), role, said.origin)
        if "ttl-threshold" in said.words and role == "both":
            self._pass_above(at, least, said.origin)
        if "mrdisc" in said.words:
            words = "is not advertised as a multicast router (RFC 4286): switches learn it by join, or a router port"
            self._tell(said.origin, f"{name} {words}")

    def _threshold(self, said: Statement) -> int | None:
        """TTL that does not pass; None where that is no number."""
        if "ttl-threshold" not in said.words:
            return 1
        text = "".join(said.words["ttl-threshold"])
        if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 255:
            return int(text)
        self._problems.add(said.origin, f"ttl-threshold should be 1 to 255, not {quote(text)}")
        return None

    def _pass_above(self, at: int, least: int, origin: Origin) -> None:
        meanings.threshold_above(self.translation, at, least, origin)
        if least > 1:
            words = f"ttl-threshold {least} passes TTL above {least}, and is looked at where datagrams leave"
            self._tell(origin, f"{words}: it is {least + 1}")

    def _name(self, text: str, origin: Origin) -> str | None:
        """An interface or wildcard as it is called here."""
        name = f"{text[:-1]}*" if text.endswith("+") else text
        if problem := name_problem(name):
            self._problems.add(origin, problem)
            return None
        return name

    def _served(self, name: str, origin: Origin, what: str) -> bool:
        """See that an interface is one of ours; False, and told, where a phyint line disables it."""
        known = self._phyint_of(name)
        if known is not None and "disable" in known.words:
            self._tell(origin, f"{name} is disabled by a phyint line: {what} is left out")
            return False
        if name not in self._phyints:
            at = self.translation.interface(name, origin)
            if "role" not in self.translation.tables["interface"][at]:
                self._serve(at, name, known, origin)
        return True

    def _serve(self, at: int, name: str, known: Statement | None, origin: Origin) -> None:
        """An interface without a phyint line of its own, but perhaps `known` by one for a wildcard."""
        self.translation.say(("interface", at, "role"), "both", origin)
        if known is not None and (least := self._threshold(known)) and "ttl-threshold" in known.words:
            meanings.threshold_above(self.translation, at, least, known.origin)
        elif known is None and any("enable" in each.words for each in self._phyints.values()):
            self._tell(origin, f"{name} has no phyint line: it is served, as by smcrouted without -N")

    def _phyint_of(self, name: str) -> Statement | None:
        if name in self._phyints:
            return self._phyints[name]
        return next((each for key, each in self._phyints.items() if is_wildcard(key) and covers(key, name)), None)

    # groups

    def mgroup(self, said: Statement) -> None:
        """`mgroup from IF [source ADDRESS[/LEN]] group ADDRESS[/LEN]`: each group, of each source, is joined."""
        name, networks = self._name(said.words["from"][0], said.origin), self._networks(said)
        if name is None or networks is None:
            return
        group, source = (None if text is None else Network.parse(text) for text in networks)
        assert group is not None
        count = 1 << 32 - group.prefix + (32 - source.prefix if source else 0)
        if count > MOST_OF_ONE or self._memberships + count > MOST_JOINED:
            most = f"{MOST_OF_ONE} of a line" if count > MOST_OF_ONE else f"{MOST_JOINED} of a file"
            self._problems.add(said.origin, f"{count} groups and sources are too many to join: at most {most}")
            return
        if self._link_local(group, said.origin, "joined") or not self._served(name, said.origin, "the group"):
            return
        if source is None and SSM.contains(group.address):
            self._allow_any_source(said.origin)
        self._memberships += count
        joined = self._joined.setdefault(name, {})
        for each in _members(group, source):
            joined.setdefault(each, said.origin)

    def _allow_any_source(self, origin: Origin) -> None:
        if "igmp" not in self.translation.tables:
            words = "joins a group of 232.0.0.0/8 for any source, which RFC 4607 has not: ssm_range is empty for that"
            self._tell(origin, words)
            self.translation.say(("igmp", "ssm_range"), [], origin)

    # routes

    def mroute(self, said: Statement) -> None:
        """`mroute from IIF [source ADDRESS[/LEN]] group ADDRESS[/LEN] [to OIF...]`; without OIF it blocks."""
        ingress, networks = self._name(said.words["from"][0], said.origin), self._networks(said)
        ways = [self._name(text, said.origin) for text in said.words.get("to", ())]
        if ingress is None or networks is None or None in ways:
            return
        if self._link_local(Network.parse(networks[0]), said.origin, "forwarded"):
            return
        if not self._served(ingress, said.origin, "the route"):
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
        return self._served(name, origin, "the way there")

    # addresses

    def _networks(self, said: Statement) -> tuple[str, str | None] | None:
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
        """As `meanings.masked`, however many there are."""
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

    # the end

    def finish(self) -> None:
        """Write down routes, and what is joined: of a wildcard also where an interface has an entry of its own."""
        for route in self._routes:
            source = {} if route.source is None else {"source": _text(route.source)}
            keys = {"group": _text(route.group), **source, "upstream": route.ingress, "interfaces": [*route.out]}
            self.translation.route(keys, route.origin)
        names = [table["name"] for table in self.translation.tables.get("interface", ()) if table["role"] == "both"]
        for wildcard in [name for name in self._joined if is_wildcard(name)]:
            for name in names:
                if name != wildcard and covers(wildcard, name):
                    self._joined[name] = self._joined[wildcard] | self._joined.get(name, {})
        for name, joined in self._joined.items():
            origin = next(iter(joined.values()))
            at = self.translation.interface(name, origin)
            self.translation.say(("interface", at, "join"), list(joined), origin)
            for number, each in enumerate(joined.values()):
                self.translation.origins["interface", at, "join", number] = each

    def _tell(self, origin: Origin, words: str) -> None:
        self._noticed += 1
        if self._noticed < MOST_NOTICES:
            self.translation.warn(origin, words)
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
