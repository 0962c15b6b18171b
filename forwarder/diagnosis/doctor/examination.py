"""All findings of all domains, the worst first. Pure."""

from types import ModuleType

from forwarder.diagnosis.doctor import (
    configuration,
    firewall,
    flows,
    forwarders,
    interfaces,
    kernel,
    limits,
    offloads,
    programs,
    surroundings,
)
from forwarder.diagnosis.doctor.facts import Facts
from forwarder.diagnosis.doctor.finding import Finding, Kind, worst_first

DOMAINS: tuple[ModuleType, ...] = (
    configuration, kernel, interfaces, surroundings, forwarders, flows, limits, programs, firewall, offloads,
)  # fmt: skip


def examine(facts: Facts) -> list[Finding]:
    """What there is to say of these facts, the worst first; nothing where all is well."""
    return worst_first(finding for domain in DOMAINS for finding in domain.findings(facts))


def kinds() -> list[Kind]:
    """Every kind of finding that there can be."""
    return [value for domain in DOMAINS for value in vars(domain).values() if isinstance(value, Kind)]
