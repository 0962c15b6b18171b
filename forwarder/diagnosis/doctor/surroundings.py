"""IGMP around us: bridges that snoop without a querier, and elections that were lost. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, InterfaceFacts, SnoopingBridge
from forwarder.diagnosis.doctor.finding import WARNING, Finding, Kind, command

SNOOPING = Kind("snooping without querier", WARNING)
ELECTION = Kind("other querier", WARNING)


def findings(facts: Facts) -> Iterator[Finding]:
    """What there is to say of each interface."""
    told: set[str] = set()
    for each in facts.interfaces:
        for bridge in each.bridges:
            if bridge.name not in told and _is_blind(each, bridge, facts.instance.answers):
                told.add(bridge.name)
                yield _snooping(each, bridge)
        if each.querier is not None and not each.forwards_anyway:
            yield ELECTION.found(
                each.name, f"{each.querier or 'another router'} is the querier on {each.name}, having the lower"
                " address: mcfwd does not forward there, since the other one is to",
                f"forward_when_not_querier = true in [[interface]] of {each.name}, if the other one only asks;"
                " or a lower address",
            )  # fmt: skip


def _is_blind(each: InterfaceFacts, bridge: SnoopingBridge, running: bool) -> bool:
    """Whether nobody asks there; where we are to ask, that is known once we run."""
    asked = bridge.querier or bridge.heard or not bridge.snooping
    return not asked and (running or each.role == "upstream" or not each.queries)


def _snooping(each: InterfaceFacts, bridge: SnoopingBridge) -> Finding:
    where = "" if bridge.name == each.name else f", on the path of {each.name},"
    return SNOOPING.mended(
        bridge.name, f"the bridge {bridge.name}{where} snoops and hears no querier: it learns no members, so it sends"
        " everything everywhere, and switches behind it forget who has joined",
        command("ip", "link", "set", "dev", bridge.name, "type", "bridge", "mcast_querier", "1"),
    )  # fmt: skip
