"""Where requirements are done and proved: marks in comments, and what they belong to."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PLACES = ("igmp", "forwarder", "tests")                 # where marks are looked for
MARK = re.compile(r"# RFC (\d+) (?=\d)(.*)")            # "# RFC 4604 section 2" is none: people say what they like
SECTION = re.compile(r"(\d+(?:\.\d+)*)((?: [a-z])+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a requirement is done or proved: file, and name in it; no name: the mark belongs to nothing."""

    id: str
    path: str
    name: str
    line: int

    @property
    def is_test(self) -> bool:
        """Whether it stands beside a test."""
        return self.path.startswith("tests/")


def marks_under(root: Path) -> list[Mark]:
    """All marks, unit tests before those that need a network; ValueError for one that cannot be read."""
    paths = [path.relative_to(root) for place in PLACES for path in (root / place).rglob("*.py")]
    paths.sort(key=lambda path: (len(path.parts), path))
    return [mark for path in paths for mark in marks_in(str(path), (root / path).read_text())]


def marks_in(path: str, text: str) -> list[Mark]:
    """The marks of a file; ValueError for one that cannot be read."""
    if not MARK.search(text):
        return []                                       # by far the most
    places, found = Places(text), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (match := MARK.match(token.string)):
            at = token.start[0]
            found += [Mark(f"{match[1]}-{each}", path, places.name(at), at) for each in _sentences(path, at, match[2])]
    return found


def _sentences(path: str, line: int, text: str) -> Iterator[str]:
    """From "6.4.1 a b, 6.4.2 a": "6.4.1-a", "6.4.1-b", "6.4.2-a"."""
    for part in text.split(", "):
        match = SECTION.fullmatch(part)
        if match is None:
            raise ValueError(f"{path}:{line}: {text!r} is none of a mark's, as '# RFC 9776 6.4.1 a b, 6.4.2 a' is")
        yield from (f"{match[1]}-{letter}" for letter in match[2].split())


class Places:
    """The functions, classes and constants of a module by line."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._ranges: list[tuple[int, int, str]] = []
        self._add(ast.parse(text).body, "")

    def name(self, line: int) -> str:
        """What the line belongs to, or what follows it if it is a comment: the innermost; empty: nothing."""
        while self._lines[line - 1].lstrip().startswith("#") and line < len(self._lines):
            line += 1
        around = [(last - first, name) for first, last, name in self._ranges if first <= line <= last]
        return min(around)[1] if around else ""

    def _add(self, body: Iterable[ast.stmt], outer: str) -> None:
        for each in body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                decorators = [decorator.lineno for decorator in each.decorator_list]
                self._note(each, outer + each.name, min([each.lineno, *decorators]))
                if isinstance(each, ast.ClassDef):
                    self._add(each.body, f"{outer}{each.name}.")
            elif isinstance(each, ast.Assign | ast.AnnAssign):
                target = each.targets[0] if isinstance(each, ast.Assign) else each.target
                self._note(each, outer + ast.unparse(target), each.lineno)

    def _note(self, node: ast.stmt, name: str, first: int) -> None:
        self._ranges.append((first, node.end_lineno or first, name))
