"""mcproxy.conf: instances of upstream and downstream interfaces, tables, and filters of interfaces made of them.

    protocol IGMPv3;
    pinstance home: eth0 ==> eth1 eth2;
    table allowed { (239.0.0.0/8 | *) };
    pinstance home downstream eth1 out whitelist table allowed;
    pinstance home upstream * in rulematching mutex 1000;
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from forwarder.config.files import plainly
from forwarder.config.formats.mcproxy_instances import MOST_INTERFACES, Filters, Instances
from forwarder.config.formats.mcproxy_tables import Tables
from forwarder.config.formats.mcproxy_words import MOST_WORDS, StatementError, Token, Words
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.rules import quote

FORMAT = "mcproxy"
MARK = re.compile(r"(?:^|;)[ \t]*+(?:pinstance[ \t]|protocol[ \t]++(?:igmp|mld)v[123]\b)", re.MULTILINE | re.IGNORECASE)
VERSIONS = {"igmpv1": 1, "igmpv2": 2, "igmpv3": 3}
MLD = ("mldv1", "mldv2")


def recognises(text: str, path: Path) -> bool:
    """Whether this is such a file."""
    return MARK.search(text) is not None


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What the file says; raises ConfigurationError."""
    reader = _Script(path)
    reader.read(text)
    reader.problems.refuse()
    reader.speak_version()
    return reader.translation


@dataclass(slots=True)
class _Script:
    path: Path
    translation: Translation = field(default_factory=lambda: Translation(FORMAT))
    problems: Problems = field(default_factory=Problems)
    version: tuple[int, Origin] | None = None
    is_mld: bool = False
    tables: Tables = field(init=False)
    instances: Instances = field(init=False)
    filters: Filters = field(init=False)

    def __post_init__(self) -> None:
        self.tables, self.instances = Tables(self.translation), Instances(self.translation)
        self.filters = Filters(self.translation, self.instances)

    def read(self, text: str) -> None:
        """All statements; one that is wrong is told, and those behind it are read."""
        words = Words(text, self.path)
        while words.here.kind != "end":
            self._statement(words)
        if words.cut:
            self.problems.add(Origin(self.path, words.cut), f"there is room for {MOST_WORDS} words")

    def _statement(self, words: Words) -> None:
        first = words.here
        try:
            if not words.is_mark(";"):
                KEYWORDS[words.keyword(*KEYWORDS)](self, words, first)
            words.expect(";")
        except StatementError as error:
            self.problems.add(Origin(self.path, error.line), str(error))
            words.skip()

    def protocol(self, words: Words, first: Token) -> None:
        """Which version is spoken, by all interfaces."""
        name = words.keyword(*VERSIONS, *MLD)
        origin, self.is_mld = words.origin(first), name in MLD
        self.version = None if self.is_mld else (VERSIONS[name], origin)
        if self.is_mld:
            told = "MLD is of IPv6, which is not forwarded here: the interfaces are served for IPv4, and unfiltered"
            self.translation.warn(origin, told)

    def disable(self, words: Words, first: Token) -> None:
        """mcproxy ends where it reads this."""
        self.translation.disabled = words.origin(first)

    def table(self, words: Words, first: Token) -> None:
        """A table that filters name."""
        self.tables.define(words)

    def pinstance(self, words: Words, first: Token) -> None:
        """An instance, or a filter or rule of one that was made."""
        name = words.name("the name of an instance")
        if words.is_word("upstream", "downstream"):
            self._binding(words, first, name)
        else:
            self._instance(words, first, name)

    def _instance(self, words: Words, first: Token, name: str) -> None:
        """`[(TABLE)]: UP… ==> DOWN…`."""
        table = ""
        if words.expect("(", ":") == "(":
            table = words.name("the number of a routing table")
            words.expect(")")
            words.expect(":")
        upstream = _names(words, "==>")
        words.expect("==>")
        downstream = _names(words, ";")
        if not downstream:
            raise words.unexpected("a downstream interface")
        origin = words.origin(first)
        if table:
            self.translation.warn(origin, f"routing table {plainly(table)} is the kernel's, which is not used")
        self.instances.add(name, upstream, downstream, origin)

    def _binding(self, words: Words, first: Token, name: str) -> None:
        """`upstream|downstream IF|* in|out`, and then a filter or how rules match."""
        role = words.keyword("upstream", "downstream")
        interface = words.advance().text if words.is_mark("*") else words.name("an interface or *")
        names = self.instances.named(name, role, interface, first.line)
        direction = words.keyword("in", "out")
        kind = words.keyword("whitelist", "blacklist", "rulematching")
        if kind == "rulematching":
            how = words.keyword("all", "first", "mutex")
            time = _milliseconds(words) if how == "mutex" else 0
            self.filters.match(how, time, names, f"{role} {direction}", words.origin(first))
            return
        entries = self.tables.read(words)
        if not self.is_mld:
            self.filters.add(kind, entries, names, role, direction, words.origin(first))

    def speak_version(self) -> None:
        """The protocol's version, where it is not the one that is spoken anyway."""
        if self.version is not None and self.version[0] != 3:
            for at in range(len(self.translation.tables.get("interface", ()))):
                self.translation.say(("interface", at, "igmp_version"), *self.version)


def _names(words: Words, end: str) -> list[str]:
    names: list[str] = []
    while words.has_name():
        names.append(words.name("an interface"))
        if len(names) > MOST_INTERFACES:
            raise StatementError(f"there is room for {MOST_INTERFACES} interfaces", words.here.line)
    if not words.is_mark(end):
        raise words.unexpected(f"an interface or {end}")
    return names


def _milliseconds(words: Words) -> int:
    line, text = words.here.line, words.name("milliseconds")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise StatementError(f"mutex takes milliseconds, not {quote(text)}", line)
    return int(text)


KEYWORDS: dict[str, Callable[[_Script, Words, Token], None]] = {
    "protocol": _Script.protocol, "pinstance": _Script.pinstance, "table": _Script.table, "disable": _Script.disable,
}  # fmt: skip
"""What a statement begins with, and what it does."""
STATEMENTS = (
    "protocol", "pinstance ==>", "table", "pinstance whitelist", "pinstance blacklist", "pinstance rulematching all",
    "pinstance rulematching first", "pinstance rulematching mutex", "disable",
)  # fmt: skip
"""What the files say, as docs/migration.md names it."""
