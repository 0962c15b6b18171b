"""Writes docs/conformance.md, or with --check only looks; what is wrong is said on stderr."""

import sys
from pathlib import Path

from scripts.rfc.marks import marks_under
from scripts.rfc.page import PAGE, page
from scripts.rfc.problems import problems
from scripts.rfc.requirements import REQUIREMENTS, load


def main(root: Path, check: bool) -> int:
    """1: something is wrong."""
    try:
        standards, requirements = load((root / REQUIREMENTS).read_text())
        marks = marks_under(root)
    except (ValueError, TypeError, SyntaxError) as error:
        print(error, file=sys.stderr)
        return 1
    wrong, text = problems(standards, requirements, marks), page(standards, requirements, marks)
    if not check:
        (root / PAGE).write_text(text)
    elif not (root / PAGE).exists() or (root / PAGE).read_text() != text:
        wrong.append(f"{PAGE} is older than requirements and marks: run scripts/conformance")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: scripts/conformance [--check]")
    sys.exit(main(Path.cwd(), "--check" in sys.argv))
