"""What a running instance says, if there is one: asked in a part of a second, and believed in nothing."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forwarder.client import Client, NoAnswerError, RequestError
from forwarder.diagnosis.doctor.facts import ExaminedFlow, InstanceFacts

PATIENCE = 0.4          # seconds for an answer to begin, twice that for all of it
BUDGET = 0.8            # seconds after which no more is asked
MOST_FLOWS = 500        # the worst
TOLD = frozenset(("ttl_expired", "source_not_allowed"))
HUNG = "no answer from the instance"
DENIED = "Permission denied"
FULL = ("timed out", "Resource temporarily unavailable")     # of connect(2): so many wait already


@dataclass(frozen=True)
class Answers:
    """Rows of its interfaces by name, its flows that it keeps from somebody, and its process ids by name."""

    facts: InstanceFacts = field(default_factory=InstanceFacts)
    interfaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flows: tuple[ExaminedFlow, ...] = ()
    processes: Mapping[str, int] = field(default_factory=dict)

    @property
    def supervisor(self) -> int | None:
        """Its process id; None where it was not told."""
        return next((pid for name, pid in self.processes.items() if name in ("mcfwd", "supervisor")), None)


def asked(socket: str | None) -> Answers:
    """What the instance at `socket`, or where commands look for it, says."""
    client, began = Client(socket, PATIENCE), time.monotonic()
    try:
        interfaces = {str(row["name"]): row for row in _rows(client.get("interfaces"))}
        processes = client.get("stats") if time.monotonic() - began < BUDGET else {}
        flows = client.get("flows", MOST_FLOWS, worst=True) if time.monotonic() - began < BUDGET else []
        return Answers(InstanceFacts(True), interfaces, tuple(_flows(_rows(flows))), _pids(processes))
    except (NoAnswerError, RequestError) as error:
        return Answers(_failure(str(error)))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return Answers(_failure(f"{HUNG} that this mcfwd understands ({type(error).__name__}): restart it"))


def _failure(words: str) -> InstanceFacts:
    """Nobody there is no failure; who takes no connection any more is there."""
    if words.startswith(HUNG) or any(each in words for each in FULL):
        return InstanceFacts(silence=words)
    return InstanceFacts(denied=words) if DENIED in words else InstanceFacts()


def _rows(answer: Any) -> list[Mapping[str, Any]]:
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []


def _flows(rows: list[Mapping[str, Any]]) -> list[ExaminedFlow]:
    return [ExaminedFlow(str(row["group"]), str(row["source"]), str(row["upstream"]), str(row["verdict"]),
                      int(row["packets"])) for row in rows if row["verdict"] in TOLD]  # fmt: skip


def _pids(stats: Any) -> dict[str, int]:
    return {str(row["name"]): int(row["pid"]) for row in _rows(stats.get("processes", []) if stats else [])
            if row.get("pid")}  # fmt: skip
