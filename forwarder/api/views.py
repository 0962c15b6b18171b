"""What a client sees of the state: plain dicts with the fixed keys, made by pure functions.

Addresses leave here as dotted text, durations as seconds rounded to milliseconds; None is "any" or "not known".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forwarder.state.contradictions import Overruling, Unasked, group_notes, route_note
from forwarder.state.membership import PortMembership
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import REASONS
from forwarder.state.roles import is_inward, is_outward
from forwarder.state.routes import RouteRow
from forwarder.state.settings import DataplaneSettings, RouteSettings, covers, is_wildcard
from forwarder.state.standing import Standing
from forwarder.state.worker_segment import PortCounters
from igmp.counters import COUNTERS
from igmp.link import format_address, parse_address

Row = dict[str, Any]
Rates = tuple[float, float, float, float]
# if_arp.h; the words are those of ip-link(8)
LINK_TYPES = {1: "ether", 512: "ppp", 519: "rawip", 768: "ipip", 772: "loopback", 776: "sit", 778: "gre", 65534: "none"}

RINGS = {1: "slots", 2: "blocks"}  # TPACKET_V2, TPACKET_V3 (linux/if_packet.h)
RING_REASONS = {
    "latency": "profile latency: every frame shows at once",
    "upstream": "streams come in here: many frames a wake-up",
    "both": "streams come in here: many frames a wake-up",
    "downstream": "streams rarely come in here: no timer that never rests",
    "refused": "the kernel refuses UDP super-frames (Linux before 6.2), after which a ring of slots gets nothing more",
}


def interfaces(
    ports: Iterable[Port],
    memberships: Mapping[int, PortMembership],
    counters: Mapping[int, PortCounters],
    segmentation: bool | None = None,
    profile: str = DataplaneSettings().profile,
    standings: Mapping[int, Standing] | None = None,
    rates: Mapping[int, Rates | None] | None = None,
) -> list[Row]:
    """One row a port; `memberships`, `counters` and `standings` by port index, a port without them counts zero.

    `rates`: packets and bytes that are received, and that are sent, a second; None where that is not known.
    `segmentation`: whether the kernel takes UDP segmentation offload; None before it was asked.
    """
    offload = _segmentation(segmentation)

    def row(port: Port) -> Row:
        counted, standing = counters.get(port.index), (standings or {}).get(port.index)
        if standing is None or standing.assigned != port.assigned:
            standing = Standing(port.index, port.assigned)
        return {
            **_interface(port, memberships.get(port.index), counted),
            **offload,
            **_ring(port, counted, profile, segmentation, standing),
            "degraded": standing.degraded,
            **_rates((rates or {}).get(port.index)),
        }

    return [row(port) for port in ports]


def _segmentation(taken: bool | None) -> Row:
    """How datagrams leave, and why so; the kernel's answer serves all ports."""
    words = {
        None: (None, "no Ethernet interface has been up yet to ask the kernel on"),
        True: ("gso", "the kernel takes UDP segmentation offload"),
        False: ("plain", "the kernel takes no UDP segmentation offload here (Linux 6.2 and later do)"),
    }
    how, why = words[taken]
    return {"segmentation": how, "segmentation_reason": why}


def _ring(
    port: Port, counters: PortCounters | None, profile: str, segmentation: bool | None, standing: Standing
) -> Row:
    """How frames come in, why so, and in how many bytes; how often a ring that was filled no more was replaced."""
    kind = RINGS.get(counters.ring or 0) if counters and port.ifindex else None
    inward = is_inward(port.role) and profile != "latency"
    why = "opened when the interface had another role, or the instance another profile"
    if kind is None:
        why = "no ring is open"
    elif (kind == "blocks") == inward:
        why = RING_REASONS["latency" if profile == "latency" else port.role]
    elif kind == "blocks" and segmentation is False:
        why = RING_REASONS["refused"]
    if standing.short is not None:
        why = f"{why}; smaller than it should be: {standing.short}"
    replacements = counters.ring_replacements if counters else 0
    return {"ring": kind, "ring_reason": why, "ring_memory": standing.rings, "ring_replacements": replacements}


def _interface(port: Port, membership: PortMembership | None, counters: PortCounters | None) -> Row:
    return {
        "name": port.name,
        "index": port.index,
        "role": port.role,
        "state": port.state,
        "address": format_address(port.addresses[0][0]) if port.addresses else None,
        "mac": port.mac if port.ifindex else None,
        "mtu": port.mtu,
        "link_type": LINK_TYPES.get(port.link_type, str(port.link_type)),
        **_membership(port, membership),
        **_traffic(counters),
    }


def _membership(port: Port, membership: PortMembership | None) -> Row:
    """What the agent says of a port, as long as it speaks of the port's present owner."""
    if membership is None or membership.stamp != port.assigned:
        membership = None
    downstream = membership is not None and membership.querier is not None and port.role == "downstream"
    return {
        "querier": membership.querier if membership and downstream else None,
        "querier_address": _querier_address(membership) if membership and downstream else None,
        "igmp_version": membership.igmp_version or None if membership else None,
        "groups": membership.groups if membership else 0,
        "host_memberships": membership.held if membership else 0,
        "igmp": membership.counters if membership else dict.fromkeys(COUNTERS, 0),
    }


def _querier_address(membership: PortMembership) -> str | None:
    """0.0.0.0 is ours where the port has none; of others it is not known."""
    known = membership.querier or membership.querier_address
    return format_address(membership.querier_address) if known else None


def _traffic(counters: PortCounters | None) -> Row:
    return {
        "rx_packets": counters.rx_packets if counters else 0,
        "rx_bytes": counters.rx_bytes if counters else 0,
        "tx_packets": counters.tx_packets if counters else 0,
        "tx_bytes": counters.tx_bytes if counters else 0,
        "drops": counters.drops if counters else dict.fromkeys(REASONS, 0),
    }


def _rates(rates: Rates | None) -> Row:
    packets_in, bytes_in, packets_out, bytes_out = rates or (None,) * 4
    return {
        "rx_packets_per_second": None if packets_in is None else round(packets_in, 1),
        "rx_bits_per_second": None if bytes_in is None else round(bytes_in * 8),
        "tx_packets_per_second": None if packets_out is None else round(packets_out, 1),
        "tx_bits_per_second": None if bytes_out is None else round(bytes_out * 8),
    }


def _address(address: int | None) -> str | None:
    return format_address(address) if address else None


def total(parts: Sequence[PortCounters], assigned: int) -> PortCounters:
    """The sum of all workers' rows for one port, without those that speak of its former owner."""
    own = [part for part in parts if part.assigned == assigned]
    drops = {reason: sum(part.drops[reason] for part in own) for reason in REASONS}
    rx = sum(part.rx_packets for part in own), sum(part.rx_bytes for part in own)
    tx = sum(part.tx_packets for part in own), sum(part.tx_bytes for part in own)
    ring = max((part.ring or 0 for part in own), default=0) or None
    return PortCounters(assigned, *rx, *tx, drops, ring, sum(part.ring_replacements for part in own))


def groups(rows: Iterable[Row], configuration: Configuration) -> list[Row]:
    """The agent's rows of memberships downstream; rows of ports that are gone are left out.

    `note`: why a static group has no effect, or any group none upstream.
    """
    return group_view(configuration)(list(rows))


def group_view(configuration: Configuration) -> Callable[[list[Row]], list[Row]]:
    """`groups` for some rows after others: what it needs to know of the configuration is found out once."""
    unasked = Unasked(configuration.ports)
    names = {port.index: port.name for port in configuration.ports}
    refused: dict[tuple[int, int], str] = {}
    for port, text, note in group_notes(configuration):
        refused[port.index, parse_address(text.rpartition(",")[2].strip())] = f"static {text}: {note}"

    def view(rows: list[Row]) -> list[Row]:
        ours = [row for row in rows if row["port"] in names]
        static = [refused.get((row["port"], row["group"])) if row["static"] else None for row in ours]
        notes = [note or _unasked(row, unasked, names[row["port"]]) for row, note in zip(ours, static, strict=True)]
        return [_group(row, names[row["port"]], note) for row, note in zip(ours, notes, strict=True)]

    return view


def _group(row: Row, interface: str, note: str | None) -> Row:
    sources = [{"address": format_address(address), "expires": _seconds(left)} for address, left in row["sources"]]
    return {
        "interface": interface,
        "group": format_address(row["group"]),
        "mode": row["mode"],
        "sources": sources,
        "excluded_sources": [format_address(address) for address in row["excluded_sources"]],
        "compatibility": row["compatibility"],
        "expires": _seconds(row["expires"]),
        "uptime": _seconds(row["uptime"]),
        "last_reporter": _address(row["last_reporter"]),
        "static": row["static"],
        "note": note,
    }


def _unasked(row: Row, unasked: Unasked, interface: str) -> str | None:
    asked = [address for address, _ in row["sources"]] if row["mode"] == "include" else [None]
    return unasked.note(asked, row["group"], interface)


def hosts(rows: Iterable[Row], ports: Iterable[Port]) -> list[Row]:
    """The agent's rows of what each host downstream wants; host and mac are None where they are not known."""
    names = {port.index: port.name for port in ports}
    return [
        {
            "interface": names[row["port"]],
            "group": format_address(row["group"]),
            "host": _address(row["host"]),
            "mac": row["mac"].to_bytes(6).hex(":") if row["mac"] else None,
            "mode": row["mode"],
            "sources": [format_address(address) for address in row["sources"]],
            "expires": _seconds(row["expires"]),
        }
        for row in rows
        if row["port"] in names
    ]


def refusals(rows: Iterable[Row], ports: Iterable[Port]) -> list[Row]:
    """The agent's rows of joins that were refused downstream; `since` and `last` are seconds ago."""
    names = {port.index: port.name for port in ports}
    return [
        {
            "interface": names[row["port"]],
            "group": format_address(row["group"]),
            "host": _address(row["host"]),
            "mac": row["mac"].to_bytes(6).hex(":") if row["mac"] else None,
            "mode": row["mode"],
            "sources": [format_address(address) for address in row["sources"]],
            "reason": row["reason"],
            "rule": row["rule"],
            "since": _seconds(row["since"]),
            "last": _seconds(row["last"]),
            "count": row["count"],
        }
        for row in rows
        if row["port"] in names
    ]


def upstream(rows: Iterable[Row], ports: Iterable[Port]) -> list[Row]:
    """The agent's rows of what is reported upstream, and of what is joined elsewhere."""
    names = {port.index: port.name for port in ports}
    return [
        {
            "interface": names[row["port"]],
            "group": format_address(row["group"]),
            "mode": row["mode"],
            "sources": [format_address(address) for address in row["sources"]],
            "version": row["version"],
            "interfaces": [names[port] for port in row["origins"] if port in names],
            "static": row["static"],
        }
        for row in rows
        if row["port"] in names
    ]


def routes(rows: Iterable[RouteRow], configuration: Configuration) -> list[Row]:
    """Static routes as they were asked for, pending ones too, then what was learned, with the names of the ports.

    `note`: why a route has no effect, or not the whole.
    """
    overruling = Overruling(configuration.routes, configuration.ports)
    static = list(_static_routes(configuration.routes, configuration.ports))
    learned = [row for row in rows if row.kind == "learned"]
    # a bit set before its port was assigned is not of that port
    ports = [[port for port in configuration.ports if port.assigned <= row.stamp] for row in learned]
    notes = [overruling.note(row.key.source, row.key.group) for row in learned]
    return static + [_route(*each) for each in zip(learned, ports, notes, strict=True)]


def _static_routes(routes: Iterable[RouteSettings], ports: Sequence[Port]) -> Iterator[Row]:
    """Static routes; of thousands few ways differ, and each looks at all ports."""
    known: dict[object, Row] = {}
    for route in routes:
        ways = route.upstream, route.interfaces
        if ways not in known:
            known[ways] = _ways(route, ports)
        source = None if route.source is None else _plain(route.source)
        yield {"group": _plain(route.group), "source": source, "upstream": route.upstream, **known[ways]}


def _ways(route: RouteSettings, ports: Sequence[Port]) -> Row:
    """Where a static route goes; its wildcards are the names they cover now, or themselves where they cover none."""
    names = [port.name for port in ports if is_outward(port.role) and port.name != route.upstream]
    interfaces = [name for each in route.interfaces for name in _covered(each, names)]
    return {
        "interfaces": list(dict.fromkeys(interfaces)),
        "kind": "static" if route.interfaces else "block",
        "note": route_note(route, ports),
    }


def _covered(configured: str, names: Iterable[str]) -> list[str]:
    if not is_wildcard(configured):
        return [configured]
    return [name for name in names if covers(configured, name)] or [configured]


def _plain(text: str) -> str:
    """A network as the other routes are written: without the prefix where it is one address."""
    return text.removesuffix("/32")


def _route(row: RouteRow, ports: Iterable[Port], note: str | None) -> Row:
    key = row.key
    names = {port.index: port.name for port in ports}
    return {
        "group": _network(key.group, key.plen),
        "source": None if key.source is None else _network(key.source, key.slen),
        "upstream": None if key.ingress is None else names.get(key.ingress),
        "interfaces": port_names(row.ports, names),
        "kind": row.kind,
        "note": note,
    }


def _network(address: int, prefix: int) -> str:
    return format_address(address) + (f"/{prefix}" if prefix < 32 else "")


def port_names(bitmap: int, names: Mapping[int, str]) -> list[str]:
    """The names of the ports whose bits are set, in index order."""
    return [name for index, name in sorted(names.items()) if bitmap >> index & 1]


@dataclass(frozen=True, slots=True)
class Load:
    """Sums over all workers: live flows, and since their segments were made batches and frames."""

    flows: int
    batches: int
    frames: int


def stats(
    processes: Row, heartbeats: Mapping[str, float], sizes: DataplaneSettings, load: Load, now: float,
    degraded: Sequence[Row] = (),
) -> Row:
    """The instance as a whole; `heartbeats` are monotonic seconds by process name, 0.0 for none yet.

    `degraded`: ports that are not served, and why. `ready`: those that have their sockets are.
    """
    return {
        "version": processes.get("version"),
        "uptime": _seconds(now - processes["started"]) if processes else None,
        "processes": [_process(each, heartbeats.get(each["name"]), now) for each in processes.get("processes", [])],
        "flows": load.flows,
        "max_flows": sizes.max_flows,
        "ring_memory": sizes.ring_memory,
        "ring_memory_used": processes.get("ring_memory", 0),
        "ready": processes.get("ready", False),
        "degraded": list(degraded),
        "batches": load.batches,
        "frames_per_batch": round(load.frames / load.batches, 1) if load.batches else None,
        "faults": processes.get("faults", 0),
        "user_kept": processes.get("kept"),     # why the children are no other user than who started us
        "spare_left_out": processes.get("spare_left_out"),  # why no worker waits to take another one's place
    }


def degraded(ports: Iterable[Port], standings: Mapping[int, Standing]) -> list[Row]:
    """The ports that are not served although their interfaces exist, and why."""
    said = [(port, standings.get(port.index)) for port in ports]
    return [
        {"interface": port.name, "reason": standing.degraded}
        for port, standing in said
        if standing is not None and standing.assigned == port.assigned and standing.degraded
    ]


def _process(process: Row, heartbeat: float | None, now: float) -> Row:
    return {
        "name": process["name"],
        "pid": process["pid"],
        "user": process["user"],
        "uptime": _seconds(now - process["started"]),
        "restarts": process["restarts"],
        "heartbeat": _seconds(max(now - heartbeat, 0.0)) if heartbeat else None,
    }


def _seconds(duration: float | None) -> float | None:
    return None if duration is None else round(duration, 3)
