"""What standards ask for, as docs/requirements.toml says it."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REQUIREMENTS = Path("docs/requirements.toml")
LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "stated")
ID = re.compile(r"\d+-\d+(\.\d+)*-[a-z]")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A sentence of a standard; `why` it has no code or no test, and how what we do deviates, if so."""

    id: str                             # "9776-6.4.1-a": RFC, section, and which of its sentences
    level: str
    sense: str
    why: str = ""
    deviation: str = ""

    @property
    def section(self) -> str:
        """RFC and section, as in "9776-6.4.1"."""
        return self.id.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Standard:
    """An RFC: titles of its sections by number; why some of them ask for nothing."""

    number: int
    title: str
    sections: dict[str, str]
    silent: dict[str, str] = field(default_factory=dict)


def load(text: str) -> tuple[list[Standard], list[Requirement]]:
    """What requirements.toml says; ValueError or TypeError where it is none."""
    data: dict[str, Any] = tomllib.loads(text)
    return [Standard(**each) for each in data["rfc"]], [Requirement(**each) for each in data["requirement"]]
