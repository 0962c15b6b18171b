"""`GET /v1/why?group=&receiver=&source=`: gathers what is known of one group, and has `diagnosis` say what it means.

The segments are looked at twice, LOOK seconds apart: counters tell what was, and what comes now is the question. The
agent is asked meanwhile, about this group alone; one that does not answer within PATIENCE leaves its steps out.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from forwarder.api.agent import AgentClient
from forwarder.api.kernel_routes import forwarded
from forwarder.api.segments import Segments
from forwarder.api.server import RefusedError
from forwarder.api.views import Row
from forwarder.diagnosis.facts import AgentFacts
from forwarder.diagnosis.why import address_of, explain
from igmp.link import is_multicast, is_unicast, parse_address

LOOK = 0.2              # seconds: 25 datagrams a second are five in it
PATIENCE = 0.6          # seconds: an agent that is well answers in a few milliseconds
LONGEST_RECEIVER = 64   # characters: names of interfaces have 15 octets, escaped four times as many
KINDS = {"group": "groups", "host": "hosts", "upstream": "upstream", "query": "queries", "refusal": "refusals"}


class Why:
    """The answers; `kernel` says what the kernel's own routing does with a group."""

    def __init__(
        self, segments: Segments, agent: AgentClient, kernel: Callable[[int], str | None] = forwarded,
    ) -> None:
        self._segments, self._agent, self._kernel = segments, agent, kernel

    async def answer(self, query: Mapping[str, str]) -> Row:
        """What `diagnosis.why` says of the group of a query string; RefusedError where there is none."""
        group, source, receiver = group_of(query.get("group")), source_of(query.get("source")), query.get("receiver")
        if receiver is not None and not 0 < len(receiver) <= LONGEST_RECEIVER:
            raise RefusedError(400, "receiver: should be the name of an interface, or the address of a host")
        host = None if receiver is None else address_of(receiver)
        question = asyncio.ensure_future(self._agent.order("why", {"group": group, "host": host}))
        first = self._segments.glance(group, source)
        await asyncio.sleep(LOOK)
        await asyncio.wait([question], timeout=PATIENCE - LOOK)
        second = self._segments.glance(group, source)
        said = question.result() if question.done() else None
        facts = self._segments.facts(group, first, second)
        agent, kernel = agent_facts(said), self._kernel(group)
        return explain(replace(facts, receiver=receiver, source=source, agent=agent, kernel=kernel))


def agent_facts(rows: list[Row] | None) -> AgentFacts | None:
    """The agent's rows by what they are about; None where it did not answer."""
    if rows is None:
        return None
    found: dict[str, list[Row]] = {kind: [] for kind in KINDS.values()}
    for row in rows:
        if (kind := KINDS.get(row.get("about", ""))) is not None:
            found[kind].append(row)
    found["refusals"].sort(key=lambda row: row["last"])
    return AgentFacts(**found)


def group_of(text: str | None) -> int:
    """A group that was asked about; RefusedError."""
    if not text:
        raise RefusedError(400, "group: is missing, as in /v1/why?group=239.1.2.3")
    if ":" in text:
        raise RefusedError(400, f"group: mcfwd forwards IPv4, and {_quoted(text)} looks like IPv6")
    try:
        group = parse_address(text)
    except ValueError:
        raise RefusedError(400, f'group: should be a group such as "239.1.2.3", not {_quoted(text)}') from None
    if not is_multicast(group):
        raise RefusedError(400, f"group: {text} is no group: those are 224.0.0.0 to 239.255.255.255")
    return group


def source_of(text: str | None) -> int | None:
    """A source that was asked about, None where none was; RefusedError."""
    if text is None:
        return None
    try:
        source = parse_address(text)
    except ValueError:
        source = 0
    if not is_unicast(source):
        raise RefusedError(400, f'source: should be the address of a sender such as "10.0.0.7", not {_quoted(text)}')
    return source


def _quoted(text: Any) -> str:
    return json.dumps(text[:40])
