"""The chain from a receiver to the sender: one table of what may keep a group away, in the order in which it is met.

First what a report meets on its way up, then what a datagram meets on its way down. A step that depends on a broken
one, or on one that was left out, is left out: its answer would say nothing. Pure.
"""

from dataclasses import dataclass
from typing import NamedTuple

from forwarder.diagnosis import arriving, interfaces, leaving, receiving, upstream
from forwarder.diagnosis.case import Case
from forwarder.diagnosis.rungs import Look

FLOWS = "flows"


class Rung(NamedTuple):
    """A step's name, how it is looked at, and the steps that it depends on."""

    step: str
    look: Look
    needs: tuple[str, ...] = ()


LEAVES = ("group", "served", "role", "route", "querier", "report", "sources", "frames", "source", "lists", "ttl")
"""What must be well for it to leave by the receiver's port."""

TABLE = (
    Rung("group", interfaces.group),
    Rung("receiver", interfaces.receiver, ("group",)),
    Rung("interface", interfaces.interface, ("group", "receiver")),
    Rung("up", interfaces.up, ("interface",)),
    Rung("member", interfaces.member, ("interface",)),
    Rung("served", interfaces.served, ("up", "member")),
    Rung("role", interfaces.role, ("interface",)),
    Rung("address", interfaces.address, ("up",)),
    Rung("route", receiving.route, ("group", "interface")),
    Rung("agent", arriving.agent, ("group",)),
    Rung("querier", receiving.querier, ("served", "role")),
    Rung("report", receiving.report, ("group", "receiver", "served", "role")),
    Rung("sources", receiving.filtered, ("report",)),
    Rung("upstream", upstream.upstream, ("group",)),
    Rung("upstream_up", upstream.upstream_up, ("upstream",)),
    Rung("upstream_member", upstream.upstream_member, ("upstream",)),
    Rung("upstream_served", upstream.upstream_served, ("upstream_up", "upstream_member")),
    Rung("upstream_address", upstream.upstream_address, ("upstream_up",)),
    Rung("reported", upstream.reported, ("report", "route", "upstream_served")),
    Rung("query", upstream.query, ("upstream_served",)),
    Rung("worker", arriving.worker),
    Rung("room", arriving.room, ("worker",)),
    Rung("frames", arriving.frames, ("group",)),
    Rung("source", arriving.source, ("frames",)),
    Rung("lists", arriving.lists, ("frames", "source")),
    Rung("ttl", arriving.ttl, ("frames", "source", "lists")),
    Rung("ring", arriving.ring, ("frames",)),
    Rung("threshold", leaving.threshold, LEAVES),
    Rung("mtu", leaving.mtu, LEAVES),
    Rung("rate", leaving.rate, LEAVES),
    Rung("sent", leaving.sent, (*LEAVES, "agent", "worker", "room", "threshold", "mtu", "rate")),
    Rung("forwarders", leaving.others, ("group",)),
)
"""Every cause there is; a test holds that each of them is reached, and in this order."""


class ChainLink(NamedTuple):
    """One step of an answer; `remedy` is for a broken one."""

    step: str
    ok: bool
    words: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The answer for one receiver's port, None: for nobody in particular."""

    interface: str | None
    links: tuple[ChainLink, ...]

    @property
    def broken(self) -> ChainLink | None:
        """The first link that does not hold."""
        return next((link for link in self.links if not link.ok), None)

    @property
    def verdict(self) -> str:
        """`flows`, or the step at which it is broken."""
        return self.broken.step if self.broken else FLOWS


def chain(case: Case) -> Chain:
    """All steps of one case."""
    lost: set[str] = set()
    links: list[ChainLink] = []
    for rung in TABLE:
        found = rung.look(case)
        if found is None:
            continue
        needs = rung.needs if found.needs is None else (*rung.needs, *found.needs)
        if not lost.isdisjoint(needs):
            lost.add(rung.step)
            continue
        if not found.ok:
            lost.add(rung.step)
        links.append(ChainLink(rung.step, found.ok, found.words, None if found.ok else found.remedy))
    return Chain(case.port.name if case.port else None, tuple(links))
