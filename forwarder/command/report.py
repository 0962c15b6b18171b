"""Findings for people: the worst first, on 80 columns, and what can be typed as it stands."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from forwarder.diagnosis.doctor.finding import Finding, worst_first
from forwarder.units import count, visible

WIDTH = 80
ALIKE = 4       # findings of a kind; thousands of interfaces may have the same
CLEAN = "nothing found"
INDENT, FURTHER = "  ", "      "


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """All that is printed."""
    if not findings:
        yield CLEAN
    for severity, found in groupby(worst_first(findings), lambda each: each.severity):
        yield f"{severity}s:"
        yield from _kinds(list(found))
    if any(each.command for each in findings):
        yield "commands are for root"


def _kinds(findings: Iterable[Finding]) -> Iterator[str]:
    """Those of a kind together, the first of them whole."""
    kinds: dict[str, list[Finding]] = {}
    for each in findings:
        kinds.setdefault(each.kind, []).append(each)
    for alike in kinds.values():
        for each in alike[:ALIKE]:
            yield from _one(each)
        if more := alike[ALIKE:]:
            subjects = ", ".join(visible(each.subject) for each in more[:ALIKE])
            yield from _wrapped(f"+{count(len(more))} more like it: {subjects}"
                                f"{' and others' if len(more) > ALIKE else ''}; --json has all")  # fmt: skip


def _one(finding: Finding) -> Iterator[str]:
    words = finding.words
    if not words.startswith(finding.subject):
        words = f"{finding.subject}: {words}"
    yield from _wrapped(visible(words))
    if finding.command:
        yield from _folded(visible(finding.command))
        further = f"{FURTHER}# "
        yield from wrap(visible(finding.comment), WIDTH, initial_indent=further, subsequent_indent=further)
    else:
        yield from _wrapped(visible(f"-> {finding.remedy}"), FURTHER)


def _wrapped(text: str, indent: str = INDENT) -> list[str]:
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=FURTHER, break_on_hyphens=False,
                break_long_words=False)  # fmt: skip


def _folded(command: str) -> Iterator[str]:
    """A command in as many lines as it needs, each but the last with what the shell takes for its going on."""
    try:
        words = shlex.split(command, posix=False)
    except ValueError:      # quotes in quotes: it stays in one line
        words = [command]
    line, ended = FURTHER, True     # `ended`: a command is, or none has begun
    for word in words:
        if not ended and len(line) + len(word) + 3 > WIDTH:
            yield f"{line} \\"
            line = FURTHER + INDENT + word
        else:
            line += word if ended else f" {word}"
        ended = word == "&&"
        if ended:
            yield line
            line = FURTHER
    yield line
