"""docs/migration.md is complete: each statement that a file may have has a row, with keys and tests that there are."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from forwarder.config import formats, reference

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "migration.md"
KEYS = {(entry.table, entry.name) for entry in reference.entries()}
ANNOUNCED: set[str] = set()  # keys of file formats that are not there yet; each must go from here once it is a key
TABLES = {
    "igmpproxy": [("igmpproxy", "KEYWORDS", "")],
    "mcproxy": [("mcproxy", "STATEMENTS", "")],
    "routeros": [("igmp_proxy_menus", "GENERAL", ""), ("igmp_proxy_menus", "INTERFACE", ""),
                 ("igmp_proxy_menus", "MFC", "mfc ")],
    "smcroute": [("smcroute_lines", "STATEMENTS", ""), ("smcroute_lines", "OPTIONS", "")],
    "uci": [("uci", "STATEMENTS", "")],
    "vyos": [("igmp_proxy_node", "FLAGS", ""), ("igmp_proxy_node", "LEAVES", ""),
             ("igmp_proxy_node", "ROLES", "role ")],
}  # fmt: skip
"""By format: in which module which table has statements that its files may have, and what a row says before them."""
TO_COME = "to come"
SNOOPING = "A snooping switch"
CODE = re.compile(r"`([^`\n]+)`")
KEY = re.compile(r"(?:\[\[?(?P<table>\w+)\]\]? )?(?P<key>[a-z][a-z0-9_]*)(?: = .+)?")
VYOS = (
    "interface", "role upstream", "role downstream", "role disabled", "alt-subnet", "threshold", "whitelist",
    "disable-quickleave", "disable", "restart igmp-proxy",
)  # fmt: skip
ROUTEROS = (
    "query-interval", "query-response-interval", "quick-leave", "interface", "upstream", "alternative-subnets",
    "threshold", "disabled", "comment", "mfc group", "mfc source", "mfc upstream-interface",
    "mfc downstream-interfaces",
)  # fmt: skip
MANUALS = {"vyos": VYOS, "routeros": ROUTEROS}
"""What the commands of VyOS and the tables of RouterOS have, as their manuals list it."""


class Row(NamedTuple):
    """A row of a table: its section, the file format this is about ("": none), and its three cells."""

    section: str
    format: str
    what: str
    becomes: str
    test: str

    @property
    def statements(self) -> list[str]:
        """What its first cell names."""
        return CODE.findall(self.what)


def rows() -> Iterator[Row]:
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        name = CODE.search(title)
        for line in body.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
            if cells and not set(cells[0]) <= {"-"} and cells[-1] != "test":
                yield Row(CODE.sub("", title).strip(), name[1] if name else "", *cells)


ROWS = list(rows())


def modules() -> dict[str, ModuleType]:
    """The modules of formats, by the name that `--format` takes."""
    names = (each.name for each in pkgutil.iter_modules(formats.__path__))
    found = (importlib.import_module(f"{formats.__name__}.{name}") for name in names)
    return {each.FORMAT: each for each in found if hasattr(each, "FORMAT")}


MODULES = modules()


def test_there_are_rows_of_every_section():
    assert {"uci", "mcproxy"} <= MODULES.keys()
    assert MODULES.keys() <= {row.format for row in ROWS}
    for title in ("Ideco UTM", "IGMP itself", SNOOPING):
        assert any(row.section == title for row in ROWS), title


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_statement_that_a_parser_knows_has_a_row(name):
    assert name in TABLES, f"say in TABLES where {MODULES[name].__name__} has what its files may say"
    tables = [(importlib.import_module(f"{formats.__name__}.{where}"), *which) for where, *which in TABLES[name]]
    statements = {before + each for module, table, before in tables for each in getattr(module, table)}
    statements -= {"role"} if name == "vyos" else set()     # its values have a row each
    said = {statement for row in ROWS if row.format == name for statement in row.statements}
    assert sorted(statements - said) == []


@pytest.mark.parametrize("name", sorted(MANUALS))
def test_every_property_of_the_manuals_has_a_row(name):
    said = {statement for row in ROWS if row.format == name for statement in row.statements}
    assert sorted(set(MANUALS[name]) - said) == []


def test_no_statement_has_two_rows():
    said = [(row.format, statement) for row in ROWS if row.format for statement in row.statements[:1]]
    assert sorted(each for each in set(said) if said.count(each) > 1 and each != ("smcroute", "mroute")) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section[:12]}: {row.what[:30]}")
def test_a_row_names_keys_that_there_are(row):
    for code in CODE.findall(row.becomes):
        if code.startswith(("mcfwd ", "--")):
            continue
        match = KEY.fullmatch(code)
        assert match, f"{code} is no key"
        table, key = match["table"], match["key"]
        known = (table, key) in KEYS if table else key in {name for _, name in KEYS}
        assert known != (key in ANNOUNCED), f"{code} is {'a key by now' if known else 'no key'}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section[:12]}: {row.what[:30]}")
def test_a_row_names_tests_that_there_are(row):
    """Those of the switch are to come, and so may files of tests be of a format whose module is not there yet."""
    if row.test == TO_COME:
        assert row.section == SNOOPING, "its test is there by now: name it"
        return
    tests = CODE.findall(row.test)
    assert tests, "it names no test"
    for test in tests:
        path, name = ROOT / "tests" / test.partition("::")[0], test.partition("::")[2]
        if row.format and row.format not in MODULES and not path.exists():
            continue
        assert re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE), test
