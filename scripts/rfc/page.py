"""docs/conformance.md."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.rfc.marks import Mark
from scripts.rfc.requirements import Requirement, Standard

PAGE = Path("docs/conformance.md")
MOST_TESTS = 3                          # that a row names
HEAD = """\
# Conformance

Every sentence that prescribes something in RFC 9776 (IGMPv3), RFC 4605 (IGMP proxying) and the part of RFC 4541
(snooping switches) that is about IGMP: in our own words, where the code does it and which tests prove it. Levels are
the key words of the standard, those of RFC 3376 where RFC 9776 took its sentences over; *stated*: it prescribes without
one. A row without code or test says why, and where we deviate it says how.

This page is made by `./scripts/conformance` from [requirements.toml](requirements.toml) and from marks such as
`# RFC 9776 6.4.1 a b` beside code and tests; do not edit it. `./scripts/check` fails where a mark points nowhere, a
section or a reason is missing, or this page is stale.
"""

Marks = Mapping[str, list[Mark]]


def page(standards: list[Standard], requirements: list[Requirement], marks: list[Mark]) -> str:
    """The whole text."""
    by_id: dict[str, list[Mark]] = {}
    for mark in marks:
        by_id.setdefault(mark.id, []).append(mark)
    parts = [HEAD, _summary(standards, requirements, by_id)]
    for standard in standards:
        parts += [f"## RFC {standard.number}: {standard.title}\n", *_sections(standard, requirements, by_id)]
    return "\n".join(parts)


def _summary(standards: list[Standard], requirements: list[Requirement], by_id: Marks) -> str:
    lines = ["| standard | requirements | with code and test | deviations |", "|---|---|---|---|"]
    for standard in standards:
        mine = [each for each in requirements if each.section.startswith(f"{standard.number}-")]
        done = sum(len({mark.is_test for mark in by_id.get(each.id, ())}) == 2 for each in mine)
        deviations = sum(bool(each.deviation) for each in mine)
        lines.append(f"| RFC {standard.number} | {len(mine)} | {done} | {deviations} |")
    return "\n".join(lines) + "\n"


def _sections(standard: Standard, requirements: list[Requirement], by_id: Marks) -> Iterable[str]:
    for number, title in standard.sections.items():
        rows = [each for each in requirements if each.section == f"{standard.number}-{number}"]
        lines = ["| | level | what is required | code | tests |", "|---|---|---|---|---|"]
        lines += [_row(each, by_id.get(each.id, [])) for each in rows]
        said = "\n".join(lines) if rows else f"Nothing is asked for: {standard.silent.get(number, '')}"
        yield f"### {number} {title}\n\n{said}\n"


def _row(requirement: Requirement, marks: list[Mark]) -> str:
    said = [requirement.sense]
    said += [f"*Deviation: {requirement.deviation}*"] * bool(requirement.deviation)
    said += [f"*{requirement.why}*"] * bool(requirement.why)
    code = _links(mark for mark in marks if not mark.is_test)
    tests = _links(mark for mark in marks if mark.is_test)[:MOST_TESTS]
    letter = requirement.id.rpartition("-")[2]
    return f"| {letter} | {requirement.level} | {' '.join(said)} | {'<br>'.join(code)} | {'<br>'.join(tests)} |"


def _links(marks: Iterable[Mark]) -> list[str]:
    """To files, with names and without lines, so that few edits change the page."""
    return list(dict.fromkeys(f"[{Path(mark.path).stem}: {mark.name}](../{mark.path})" for mark in marks))
