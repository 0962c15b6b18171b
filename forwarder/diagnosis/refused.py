"""Whom a group was refused, by which rule, and what helps: in words. Pure; rows are the agent's of refused joins."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from forwarder.diagnosis.causes import Trouble
from igmp.link import format_address, parse_address

Row = dict[str, Any]
RECENT = 300.0          # seconds: hosts repeat what they want about every two minutes
WORDS = {               # by reason; of lists and limits the rule says it
    "allow": "by allow, which does not name it",
    "destination": "since its report went elsewhere ({rule})",
    "off_subnet": "since it is in no subnet of the link ({rule})",
    "own_address": "since it speaks with an address of ours ({rule})",
    "router_alert": "since its report had no Router Alert ({rule})",
    "ssm": "since it asked for any source ({rule})",
    "ttl": "since its report had another TTL than 1 ({rule})",
    "version": "since it asked in IGMPv1 or v2, which name no source ({rule})",
}
REMEDIES = {            # by reason; {where} is the interface
    "allow": "add the group to allow of {where}",
    "deny": "take it out of deny of {where} ({rule})",
    "boundary": "take it out of boundary of {where} ({rule}), or use another group",
    "destination": "have the host report to 224.0.0.22, or in IGMPv2 to the group",
    "off_subnet": "correct the host's address, or add its network to altnets of {where}",
    "own_address": "give the host another address",
    "router_alert": "have the host send Router Alert, or switch require_router_alert off",
    "ssm": "have the program name its source when it joins, or take the group out of ssm_range, or use another group",
    "ttl": "have the host report with TTL 1, or set accept_any_ttl",
    "version": "have the host speak IGMPv3 and name its source, or take the group out of ssm_range",
}
SERVED = frozenset(("max_hosts",))      # such a host is not tracked, and gets what it asks for


def hint(flow: Row, rows: Iterable[Row], names: Mapping[int, str], age: float) -> str | None:
    """Who asked last for a flow and was refused, by `rows` of its group, the last first, of `age` seconds ago.

    None: nobody did. Of a flow that others get, who stopped asking is not told: it was right for them.
    """
    served = {flow["upstream"], *flow["downstreams"]}       # its own link has it anyway
    elsewhere = {port: name for port, name in names.items() if name not in served}
    source, longest = parse_address(flow["source"]), RECENT if flows_well(flow) else inf
    asked = (
        row for row in rows
        if row["port"] in elsewhere and lets_in(row, source) and row["last"] + age <= longest
    )  # fmt: skip
    last, another = next(asked, None), next(asked, None)
    if last is None:
        return None
    more = "; and others (mcfwd show refusals)" if another else ""
    return trouble(last, elsewhere[last["port"]], age).words + more


def trouble(row: Row, where: str, age: float = 0.0) -> Trouble:
    """What was refused on the interface `where`, as told `age` seconds ago, and what helps."""
    since, reason, rule = row["last"] + age, row["reason"], row["rule"]
    when = f" {since:.0f} s ago" if since > RECENT else ""
    why = WORDS.get(reason, "by {rule}").format(rule=rule)
    remedy = REMEDIES.get(reason, "raise {reason} of {where}").format(where=where, rule=rule, reason=reason)
    return Trouble(f"{who(row)} asked for it on {where}{when}, refused {why}", remedy, None)


def flows_well(flow: Row) -> bool:
    """Whether a flow is forwarded and loses nothing."""
    return flow["verdict"] == "forward" and flow["hint"] is None


def who(row: Row) -> str:
    """A host by its address, or what else is known of it."""
    if row["host"]:
        return format_address(row["host"])
    return str(row["mac"].to_bytes(6).hex(":")) if row["mac"] else "a host without an address"


def lets_in(row: Row, source: int) -> bool:
    """Whether what a host wants, or was refused, is of this source too."""
    listed = source in row["sources"]
    return listed if row["mode"] == "include" else not listed
