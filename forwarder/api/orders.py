"""What is done at once on downstream interfaces: POST of `/v1/query` asks what is wanted, `/v1/clear` forgets and asks.

Both take `interface` (a name or wildcard), `query` without it means all; `clear` takes `group`, without it all are
forgotten. The answer has for each interface whether it was asked, who is the querier, and how many groups it forgot.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forwarder.api.agent import AgentClient
from forwarder.api.server import RefusedError
from forwarder.state.names import known
from forwarder.state.ports import Port
from forwarder.state.settings import covers
from igmp.link import format_address, is_multicast, parse_address

KEYS = {"query": ("interface",), "clear": ("interface", "group")}

Row = dict[str, Any]


async def carry_out(noun: str, body: Mapping[str, Any], ports: Sequence[Port], agent: AgentClient) -> list[Row]:
    """What came of an order; raises RefusedError."""
    if unknown := sorted(body.keys() - set(KEYS[noun])):
        raise RefusedError(400, f"{unknown[0]}: unknown key; known are {', '.join(KEYS[noun])}")
    meant = _meant(body.get("interface"), ports, all_without=noun == "query")
    said = {"ports": [port.index for port in meant], "group": _group(body.get("group"))}
    rows = await agent.order(noun, said)
    if rows is None:
        raise RefusedError(504, "the agent does not answer; what was asked may still happen")
    names = {port.index: port for port in meant}
    return [_row(row, names[row["port"]]) for row in rows if row["port"] in names]


def _meant(interface: Any, ports: Sequence[Port], all_without: bool) -> list[Port]:
    """The downstream ports of a name or wildcard."""
    if interface is not None and not isinstance(interface, str):
        raise RefusedError(400, "interface: should be text")
    if interface is None and not all_without:
        raise RefusedError(400, "interface: is missing")
    named = [port for port in ports if interface is None or covers(interface, port.name)]
    if not named and interface is not None:
        there = known(interface[:40], (port.name for port in ports if port.role == "downstream"))
        raise RefusedError(404, f"interface: there is no {json.dumps(interface[:40], ensure_ascii=False)}{there}")
    meant = [port for port in named if port.role == "downstream"]
    if not meant and named:
        raise RefusedError(400, f"{named[0].name} is {named[0].role}: mcfwd does not ask there")
    return meant


def _group(text: Any) -> int | None:
    if text is None:
        return None
    try:
        group = parse_address(text) if isinstance(text, str) else 0
    except ValueError:
        group = 0
    if not is_multicast(group):
        raise RefusedError(400, 'group: should be a group such as "239.1.2.3"')
    return group


def _row(row: Row, port: Port) -> Row:
    querier = format_address(row["querier"]) if row["querier"] else None
    return {"interface": port.name, "asked": row["asked"], "querier": querier, "forgotten": row["forgotten"]}
