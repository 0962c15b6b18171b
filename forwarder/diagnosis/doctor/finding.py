"""A finding: what, why it matters, and what mends it; a kind for each that there can be. Pure."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
BEHIND = "   # "         # between a command and what else there is to say
STATUS = {ERROR: 2, WARNING: 1, NOTE: 0}    # exit statuses; a note is no reason to wake anybody


class Finding(NamedTuple):
    """`remedy` is a command for root, with what else there is to say behind a `#`, or words where none mends it.

    `kind` is the name that docs/operating.md has it by; `command` is that of the remedy alone, empty where none helps.
    """

    severity: str
    subject: str
    words: str
    remedy: str
    kind: str = ""
    command: str = ""

    def to_json(self) -> dict[str, str]:
        """What programs get."""
        return {"severity": self.severity, "subject": self.subject, "words": self.words, "remedy": self.remedy}

    @property
    def comment(self) -> str:
        """What is said of the remedy in words."""
        return self.remedy.removeprefix(self.command).removeprefix(BEHIND)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding, by its name in the documentation."""

    name: str
    severity: str

    def found(self, subject: str, words: str, remedy: str) -> Finding:
        """One that is mended in words."""
        return Finding(self.severity, subject, words, remedy, self.name)

    def mended(self, subject: str, words: str, command: str, comment: str = "") -> Finding:
        """One that a command mends."""
        remedy = f"{command}{BEHIND}{comment}" if comment else command
        return Finding(self.severity, subject, words, remedy, self.name, command)


def command(*words: str) -> str:
    """A command line, its words quoted: the kernel takes nearly any octets for the name of an interface."""
    return shlex.join(words)


def in_turn(*commands: str) -> str:
    """Commands of which each runs if those before it did."""
    return " && ".join(commands)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sorted by severity; otherwise as they were found."""
    return sorted(findings, key=lambda each: SEVERITIES.index(each.severity))


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 0 clean, 1 warnings, 2 errors."""
    return max((STATUS[each.severity] for each in findings), default=0)
