"""What the configuration says, in the protocol's own terms. Pure."""

from typing import Literal

from forwarder.state.access import access_of, contribution_of
from forwarder.state.ports import Port
from forwarder.state.settings import IgmpSettings, Settings, igmp_of
from igmp.link import Link, Network, parse_address
from igmp.packet import Rules
from igmp.parameters import Parameters, PortOptions

_ROLES: dict[str, Literal["upstream", "downstream", "host"]] = {
    "upstream": "upstream", "downstream": "downstream", "both": "host"
}  # fmt: skip


def rules_of(igmp: IgmpSettings) -> Rules:
    """What is said about receiving IGMP at all."""
    return Rules(
        require_router_alert=igmp.require_router_alert,
        accept_any_ttl=igmp.accept_any_ttl,
        strict_sources=igmp.strict_sources,
        ssm_range=tuple(map(Network.parse, igmp.ssm_range)),
    )


def parameters_of(igmp: IgmpSettings) -> Parameters:
    """The timers and counts of ports for which this holds."""
    return Parameters(
        robustness=igmp.robustness,
        query_interval=igmp.query_interval,
        max_query_interval=igmp.max_query_interval,
        query_response_interval=igmp.query_response_interval,
        last_member_query_interval=igmp.last_member_query_interval,
        last_member_query_count=igmp.last_member_query_count,
        startup_query_interval=igmp.startup_query_interval,
        startup_query_count=igmp.startup_query_count,
        unsolicited_report_interval=igmp.unsolicited_report_interval,
        specific_query_burst=igmp.specific_query_burst,
        specific_query_rate=igmp.specific_query_rate,
        older_querier_timeout=igmp.older_querier_timeout,
        report_interval=igmp.report_interval,
        linger=igmp.linger,
        gmi_rfc3376=igmp.gmi_rfc3376,
        rfc9776=igmp.rfc9776,
    )


class Options:
    """What is said about IGMP on ports: worked out once for all whose entries say the same but for their names.

    What was said `before` in the same words is the same object, which costs nothing to compare.
    """

    def __init__(self, settings: Settings, before: "Options | None" = None) -> None:
        self._igmp = settings.igmp
        self._known: dict[tuple[object, ...], PortOptions] = {}
        self._before: dict[tuple[object, ...], PortOptions] = {}
        self._common: tuple[Parameters, Rules]
        if before is not None and before._igmp == self._igmp:
            self._common, self._before = before._common, before._known
        else:
            self._common = parameters_of(self._igmp), rules_of(self._igmp)

    def of(self, port: Port) -> PortOptions:
        """Those of a port."""
        said = dict(vars(port.settings))    # what is said, not all forty keys
        del said["name"]
        key = port.role, *said.items()
        options = self._known.get(key)
        if options is None:
            former = self._before.get(key)
            options = self._known[key] = options_of(port, self._igmp, self._common) if former is None else former
        return options


def options_of(port: Port, igmp: IgmpSettings, common: tuple[Parameters, Rules] | None = None) -> PortOptions:
    """What is said about IGMP on one port; `common`: what follows from `igmp`, where that is known."""
    own = port.settings
    held = igmp_of(igmp, own)
    parameters, rules = common if common and held is igmp else (parameters_of(held), rules_of(held))
    return PortOptions(
        role=_ROLES[port.role],
        parameters=parameters,
        rules=rules,
        igmp_version=None if own.igmp_version == "auto" else own.igmp_version,
        querier=own.querier,
        querier_address=None if own.querier_address is None else parse_address(own.querier_address),
        max_groups=own.max_groups,
        max_sources=own.max_sources,
        max_port_sources=own.max_port_sources,
        max_hosts=own.max_hosts,
        quick_leave=own.quick_leave,
        quick_leave_untracked=own.quick_leave_untracked,
        access=access_of(own),
        contribution=contribution_of(own),
    )


def link_of(port: Port) -> Link:
    """What the protocol must know of the port's interface."""
    altnets = port.settings.altnets
    return Link(
        addresses=tuple(Network(address, prefix) for address, prefix in port.addresses),
        peers=port.peers,
        altnets=None if altnets is None else tuple(map(Network.parse, altnets)),
        mtu=port.mtu,
        mac=int(port.mac.replace(":", "") or "0", 16),
    )
