"""What the documentation names exists: keys of the configuration, and names of the source."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from forwarder import endings
from forwarder.api.application import DONE, Application
from forwarder.api.supervisor import STATUSES
from forwarder.command import main, options
from forwarder.config import loading, reference
from forwarder.config.files import ConfigurationError
from forwarder.config.formats.registry import FORMATS
from forwarder.diagnosis.doctor import examination
from forwarder.state.reasons import REASONS
from forwarder.supervisor import supervisor
from igmp.counters import COUNTERS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [*(path for folder in ("forwarder", "igmp", "bench") for path in (ROOT / folder).rglob("*.py")),
           *(path for path in (ROOT / "scripts").iterdir() if path.is_file())]  # fmt: skip
NO_USER = "is no user of this system"   # of a configuration that is an example

KEYS = {(entry.table, entry.name) for entry in reference.entries()}
NAMES = {name for _, name in KEYS}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
PLACED = re.compile(r"\[\[?(\w+)\]\]?`? `?([a-z_]+)`?")     # `[dataplane] burst`, [dataplane] `burst`
INSIDE = re.compile(r"`?\b([a-z]+_[a-z_]+)`? in `?\[\[?(\w+)\]\]?")         # max_flows in [dataplane]
ADVISED = re.compile(r"\b(?:raise|lower|set|change) ([a-z]+_[a-z_]+)\b(?!\.)")     # of a message
SAID = re.compile(r"([a-z][a-z0-9_]*) = \S+")
SNAKE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+")


def unknown_keys(text: str) -> list[str]:
    """The keys that a text names with their table, or with a value, and that do not exist."""
    tables = {table for table, _ in KEYS}
    prose = FENCE.sub("", text)
    placed = [*PLACED.findall(prose), *((table, key) for key, table in INSIDE.findall(prose))]
    spans = [SAID.fullmatch(code) for code in CODE.findall(prose)]
    found = [f"[{table}] {key}" for table, key in placed if table in tables and "_" in key and (table, key) not in KEYS]
    return found + [span[0] for span in spans if span and span[1] not in NAMES]


def problems_of_example(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a piece of a configuration; interfaces are only missed where it has some."""
    file = tmp_path / "example.toml"
    file.write_text(text)
    upstream, downstream = ([], []) if "[[interface]]" in text else (["eth0"], ["eth1", "tap*"])
    try:
        loading.load(file, upstream, downstream, None)
    except ConfigurationError as error:
        return [line for line in str(error).splitlines() if not line.endswith(NO_USER)]
    return []


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_keys_that_a_page_names_exist(page):
    assert unknown_keys(page.read_text()) == [], f"{name_of(page)} names keys that settings.py does not have"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configurations_on_a_page_are_accepted(page, tmp_path):
    for language, text in FENCE.findall(page.read_text()):
        assert language != "toml" or problems_of_example(tmp_path, text) == []


def test_the_keys_that_messages_name_exist():
    """Hints, refusals and the log name a key with its table, as in "raise max_flows in [dataplane]"."""
    for path in (*(ROOT / "forwarder").rglob("*.py"), *(ROOT / "igmp").rglob("*.py")):
        for key, table in INSIDE.findall(path.read_text()):
            assert (table, key) in KEYS, f"{name_of(path)} names [{table}] {key}, which settings.py does not have"
        for key in ADVISED.findall(path.read_text()):
            assert key in NAMES, f"{name_of(path)} tells to change {key}, which settings.py does not have"


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("set `[dataplane] ring_memry`", "[dataplane] ring_memry"),
        ("`[[interface]] link_local_source` is", "[interface] link_local_source"),
        ("raise max_flow in [dataplane]", "[dataplane] max_flow"),
        ("`quickleave = true` does", "quickleave = true"),
        ("`busy_poll = true`, `[igmp] robustness`, max_flows in [dataplane]", None),
    ],
)
def test_a_key_that_does_not_exist_is_found(text, unknown):
    assert unknown_keys(text) == ([unknown] if unknown else [])


def test_an_example_with_an_unknown_key_is_found(tmp_path):
    (problem,) = problems_of_example(tmp_path, "[igmp]\nrobustnes = 3\n")
    assert "unknown key; did you mean robustness?" in problem


@cache
def words_of_the_source() -> frozenset[str]:
    """In lower case, as reasons are shown; some counters' names are put together."""
    texts = (path.read_text().lower() for path in SOURCES)
    return frozenset(COUNTERS).union(*(re.findall(r"\w+", text) for text in texts))


def snake_words(page: Path) -> Iterator[str]:
    for code in CODE.findall(FENCE.sub("", page.read_text())):
        if "/" not in code and "." not in code:
            yield from SNAKE.findall(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_on_a_page_are_names_in_the_source(page):
    """A name that is written as code, with an underscore: somebody renamed it, or it never was."""
    assert sorted(set(snake_words(page)) - words_of_the_source()) == []


@pytest.mark.parametrize(
    ("title", "names", "source"),
    [
        ("every drop reason", REASONS, "forwarder/state/reasons.py"),
        ("every IGMP counter", COUNTERS, "igmp/counters.py"),
    ],
)
def test_troubleshooting_tells_everything_that_is_counted(title, names, source):
    rows = table_of("troubleshooting.md", title)
    told = [name for row in rows for name in CODE.findall(row[0])]
    missing, strange = sorted(set(names) - set(told)), sorted(set(told) - set(names))
    assert (missing, strange) == ([], []), f"docs/troubleshooting.md, {title}: {source} has {missing}, not {strange}"
    assert len(told) == len(set(told))
    for row in rows:
        assert all(len(cell) > 1 for cell in row), f"docs/troubleshooting.md: {row[0]} lacks a meaning or a remedy"


def table_of(page: str, title: str) -> list[list[str]]:
    """The cells of the rows of a table between its marks."""
    text = (ROOT / "docs" / page).read_text()
    _, mark, rest = text.partition(f"<!-- {title} -->\n")
    assert mark, f"docs/{page} has no mark {title}"
    lines = rest.partition("<!-- end -->")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- docs/operating.md ---


def said_in(title: str, column: int = 0) -> list[str]:
    """The words of a column, code marks and commas left out."""
    return [word for row in table_of("operating.md", title) for word in re.split(r"[`,\s]+", row[column]) if word]


def test_every_exit_status_is_said():
    modules = (options, endings, supervisor)
    statuses = {value for module in modules for name, value in vars(module).items() if name[:5] == "EXIT_"}
    assert sorted(map(int, said_in("every exit status"))) == sorted({0, 2, *statuses})


def test_every_environment_variable_is_said():
    names = {name for path in (ROOT / "forwarder").rglob("*.py") if "lab" not in path.parts
             for name in re.findall(r"environ(?:ment)?\.get\(\"(\w+)\"", path.read_text())}  # fmt: skip
    assert sorted(said_in("every environment variable")) == sorted(names)


def test_every_path_is_said_with_its_methods():
    application = Application(None, None, None)
    told = {row[0].strip("`"): row[1].split(", ") for row in table_of("operating.md", "every path")}
    assert told == {f"/v1/{noun}": application.methods(noun) for noun in application.nouns}


def test_every_status_of_rest_is_said():
    texts = [path.read_text() for path in (ROOT / "forwarder" / "api").glob("*.py")]
    found = {int(each) for text in texts for each in re.findall(r"(?:RefusedError\(|HTTP/1.1 )(\d+)", text)}
    assert sorted(map(int, said_in("every HTTP status"))) == sorted({200, *found, *DONE.values(), *STATUSES.values()})


def test_every_message_to_the_service_manager_is_said():
    texts = [path.read_text() for path in (ROOT / "forwarder" / "supervisor").glob("*.py")]
    found = {each for text in texts for each in re.findall(r"notify\(f?\"([A-Z]+=1?)", text)}
    assert set(said_in("every message to the service manager")) == found


def test_every_finding_of_doctor_is_said_with_its_severity():
    told = {row[0]: row[1] for row in table_of("operating.md", "every finding of doctor")}
    assert told == {kind.name: kind.severity for kind in examination.kinds()}


INVOKED = re.compile(r"^(?:.*[ /])?mcfwd ([a-z]+\b.*)", re.MULTILINE)


def invoked(page: Path) -> Iterator[list[str]]:
    """The words after `mcfwd` of what a page tells to type."""
    text = page.read_text()
    shell = (block for language, block in FENCE.findall(text) if language == "sh")
    for piece in (*CODE.findall(FENCE.sub("", text)), *shell):
        yield from (said.partition("|")[0].split() for said in INVOKED.findall(re.sub("#.*", "", piece)))


def commands(group: Any = None, before: str = "") -> dict[str, set[str]]:
    """The options of each command by its words."""
    found = {}
    for name, command in (group or typer.main.get_command(main.app)).commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        inner = commands(command, f"{before}{name} ") if hasattr(command, "commands") else {before + name: options}
        found |= inner
    return found


def test_every_command_is_said():
    text = (ROOT / "docs" / "operating.md").read_text().partition("## Exit statuses")[0]
    assert sorted(re.findall(r"^\| `mcfwd ([a-z ]+)` \|", text, re.MULTILINE)) == sorted(commands())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_a_page_exist_with_their_options(page):
    known = commands()
    for words in invoked(page):
        name = next((each for each in (" ".join(words[:2]), words[0]) if each in known), None)
        assert name or any(each.startswith(f"{words[0]} ") for each in known), f"{name_of(page)}: mcfwd {words}"
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= {*known.get(name or "", ()), "--help", "-h"}, f"{name_of(page)}: mcfwd {words}"


def test_every_kind_of_file_is_in_the_table_of_docs_configuration_md():
    rows = (ROOT / "docs" / "configuration.md").read_text().partition("| `--format` | file |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == list(FORMATS)
