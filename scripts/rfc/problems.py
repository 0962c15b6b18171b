"""What is missing in requirements and marks, or points nowhere."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from scripts.rfc.marks import Mark
from scripts.rfc.requirements import ID, LEVELS, REQUIREMENTS, Requirement, Standard


def problems(standards: list[Standard], requirements: list[Requirement], marks: list[Mark]) -> list[str]:
    """One line each; none: all is well."""
    by_id = defaultdict[str, list[Mark]](list)
    for mark in marks:
        by_id[mark.id].append(mark)
    sections = {f"{each.number}-{section}" for each in standards for section in each.sections}
    seen = {each.section for each in requirements}
    found = [*_of_marks(marks, {each.id for each in requirements})]
    for standard in standards:
        found += _of_sections(standard, seen)
    for requirement in requirements:
        if requirement.section not in sections:
            found.append(f"{requirement.id}: its RFC has no such section")
        found += _of_requirement(requirement, by_id[requirement.id])
    count = Counter(each.id for each in requirements)
    return found + [f"{each}: is there twice" for each in count if count[each] > 1]


def _of_marks(marks: Iterable[Mark], known: set[str]) -> Iterator[str]:
    for mark in marks:
        if mark.id not in known:
            yield f"{mark.path}:{mark.line}: {mark.id} is not in {REQUIREMENTS}"
        if not mark.name:
            yield f"{mark.path}:{mark.line}: the mark belongs to no function, class or constant"


def _of_sections(standard: Standard, seen: set[str]) -> Iterator[str]:
    """Every section has a requirement, or says why not; none is left out between two."""
    for number in standard.sections:
        where = f"RFC {standard.number} section {number}"
        outer, dot, last = number.rpartition(".")
        before = [outer] * bool(outer) + [f"{outer}{dot}{int(last) - 1}"] * (int(last) > 1)
        yield from (f"{where}: section {each} is missing" for each in before if each not in standard.sections)
        asks, silent = f"{standard.number}-{number}" in seen, number in standard.silent
        if asks and silent:
            yield f"{where}: has a requirement, so it is not `silent`"
        if not asks and not silent:
            yield f"{where}: has no requirement, and no reason in `silent`"
    for number in standard.silent.keys() - standard.sections.keys():
        yield f"RFC {standard.number} section {number}: is `silent` and not among the sections"


def _of_requirement(requirement: Requirement, marks: list[Mark]) -> Iterator[str]:
    if not ID.fullmatch(requirement.id):
        yield f"{requirement.id}: an id is like 9776-6.4.1-a"
    if requirement.level not in LEVELS:
        yield f"{requirement.id}: {requirement.level} is none of {', '.join(LEVELS)}"
    lacks = [what for what, test in (("code", False), ("test", True)) if all(mark.is_test != test for mark in marks)]
    if lacks and not requirement.why:
        yield f"{requirement.id}: has no {' and no '.join(lacks)}, and no `why`"
    if not lacks and requirement.why:
        yield f"{requirement.id}: has code and test, so nobody asks for its `why`"
