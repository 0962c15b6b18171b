"""What every key of the configuration means, for people: docs/configuration.md and `mcfwd config` are made of this.

Types, defaults and ranges are not repeated here: they are read from `forwarder.state.settings` (by `reference`).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its `meaning`; an `example` as TOML; `unit`; `values`: what may be written, where a type cannot say it.

    Where the default is none, the meaning says what "unset" does.
    """

    meaning: str
    example: str
    unit: str = ""
    values: str = ""


_ENTRIES = 'a list of networks of groups, each with a network of sources and a comma before it or without: '
_MEMBERSHIPS = "a list of groups, each with a source and a comma before it or without"
_RATE = 'a whole number from 1, or text such as "64kbit", "10Mbit", "1Gbit"'

INTERFACE = {
    "name": Key(
        "The interface, or a shell wildcard (`*`, `?`, `[...]`) for every interface that matches, whenever it comes. A"
        " plain name wins over wildcards; of wildcards the first that matches counts.",
        '"eth0"', values="1 to 15 characters",
    ),
    "role": Key(
        "`upstream`: senders are there, groups are joined there as a host. `downstream`: receivers are there, mcfwd is"
        " their multicast router. `both`: static routes alone lead from there and to there; nobody is asked, nothing is"
        " learned, and only `join` is joined. `disabled`: not used, for an exception from a wildcard.",
        '"upstream"',
    ),
    "priority": Key(
        "Of several upstreams that bring the same flow, the one with the lowest number is used.", "2",
    ),
    "altnets": Key(
        "Networks of sources to accept here besides the interface's own subnets. Unset: on an upstream, and where"
        " the role is `both`, every source that is in no other interface's subnet, on a downstream none, but as on an"
        " upstream where it has no address.",
        '["10.0.0.0/8"]', values="a list of networks",
    ),
    "threshold": Key(
        "Smallest TTL that passes, into and out of this interface; where the role is `both`, out of it alone. TTL 1"
        " never passes.",
        "16", unit="TTL",
    ),
    "igmp_version": Key(
        'IGMP version spoken here. `"auto"`: 3, and on an upstream older ones as long as an older querier is heard.',
        "2",
    ),
    "querier": Key(
        "Downstream: whether mcfwd sends queries. With false it only listens, and forwards there only with"
        " `forward_when_not_querier`.",
        "false",
    ),
    "querier_address": Key(
        "Source address of queries where the interface has none. Unset: its own address, or 0.0.0.0, with which it asks"
        " as long as no other querier is heard.",
        '"192.168.2.1"', values="a unicast address",
    ),
    "quick_leave": Key(
        "Downstream: end a group at once, without asking, when the last host that is known to want it leaves. Where"
        " this cannot be known for certain the hosts are asked as usual.",
        "true",
    ),
    "quick_leave_untracked": Key(
        "Downstream: end a group at once whoever leaves it. Only for links with a single receiver: another one would be"
        " cut off. Not together with `quick_leave`.",
        "true",
    ),
    "max_groups": Key("Most groups that are kept for this interface.", "500", unit="groups"),
    "max_sources": Key("Most sources that are kept for one group of this interface.", "64", unit="sources"),
    "max_port_sources": Key(
        "Most sources that are kept for all groups of this interface together, excluded ones too.",
        "262144", unit="sources",
    ),
    "max_hosts": Key(
        "Most hosts that are told apart in one group of this interface; more are served, but not tracked.",
        "100", unit="hosts",
    ),
    "allow": Key(
        "Groups that may pass here, as memberships and as data, in both directions. Empty: all.",
        '["239.1.0.0/16", "10.0.0.0/8,232.0.0.0/8"]', values=_ENTRIES + '"239.0.0.0/8", "10.0.0.0/8,239.0.0.0/8"',
    ),
    "deny": Key(
        "Groups that may not, though `allow` has them.", '["239.255.0.0/16"]', values="as for `allow`",
    ),
    "access": Key(
        "A list in an order, with exceptions: of its entries the first that names what would pass decides, before"
        " `deny` and `allow` are asked. What none of the three names passes, unless one of them allows something.",
        '["deny 239.1.1.1", "allow 239.0.0.0/8", "deny 10.0.0.0/8,232.0.0.0/8", "allow 232.0.0.0/8"]',
        values="as for `allow`, each behind the word `allow` or `deny`",
    ),
    "boundary": Key(
        "Groups that never pass here whatever `allow` says: an administrative boundary (RFC 2365).",
        '["239.255.0.0/16"]', values="a list of networks of groups",
    ),
    "contribute": Key(
        "Downstream: the memberships of this interface that are reported upstream. Others are kept, and served from"
        " what comes anyway. Empty: none. Unset: all.",
        '["deny 239.1.1.1", "239.1.0.0/16"]', values="as for `access`; an entry without a word allows",
    ),
    "rate_limit": Key(
        "Most that leaves by this interface, IP headers included. Unset: no limit.",
        '"100Mbit"', unit="bit/s", values=_RATE,
    ),
    "flow_rate_limit": Key(
        "Most that one flow (source and group) may take of this interface. Unset: no limit.",
        '"20Mbit"', unit="bit/s", values=_RATE,
    ),
    "static_groups": Key(
        "Groups that are wanted here without a receiver, at most 4,096: they flow here and are joined upstream. On an"
        " upstream, and where the role is `both`, they are joined here, as by `join`. In `ssm_range` a source has to"
        " stand before the group.",
        '["239.1.2.3", "239.1.1.0/26", "10.0.0.7-10.0.0.9,232.1.1.1"]',
        values="a list of groups, each with a source and a comma before it or without; both may be ranges, with a dash"
        " between the first and the last, or networks",
    ),
    "join": Key(
        "Groups that mcfwd itself joins here as a host, whatever receivers want: it reports them and answers queries,"
        " so that switches and routers of this link send them here. Nothing flows here for that. On a downstream it"
        " answers its own queries too, and only other routers and switches take it for a member. In `ssm_range` a"
        " source has to stand before the group.",
        '["239.1.2.3", "10.0.0.7,232.1.1.1"]', values=_MEMBERSHIPS,
    ),
    "link_local_sources": Key(
        "Forward what comes from 169.254.0.0/16, which RFC 3927 forbids: for labs without other addresses.", "true",
    ),
}  # fmt: skip

IGMP = {
    "robustness": Key(
        "How many losses in a row the protocol survives; most counts and times follow from it.", "3",
    ),
    "query_interval": Key(
        "Time between general queries. It must be longer than `query_response_interval`.", "60.0", unit="s",
    ),
    "max_query_interval": Key(
        "The longest time between general queries that is taken from another router that is the querier: what it says"
        " decides how long memberships last. Where `query_interval` is longer, that counts.",
        "300.0", unit="s",
    ),
    "query_response_interval": Key(
        "Time in which hosts answer a general query: longer spreads answers. At most 25.5 where a downstream interface"
        " speaks version 1 or 2.",
        "5.0", unit="s",
    ),
    "last_member_query_interval": Key(
        "After a leave: time between the queries whether somebody else still wants the group. At most 25.5 where a"
        " downstream interface speaks version 1 or 2.",
        "0.5", unit="s",
    ),
    "last_member_query_count": Key(
        "After a leave: number of those queries; a leave takes their time together. Unset: `robustness`.",
        "1", unit="queries",
    ),
    "startup_query_interval": Key(
        "Time between the first general queries. Unset: a quarter of `query_interval`.", "10.0", unit="s",
    ),
    "startup_query_count": Key(
        "Number of general queries in that short succession. Unset: `robustness`.", "3", unit="queries",
    ),
    "unsolicited_report_interval": Key(
        "Upstream: longest time until a version 3 join or leave is repeated.", "0.5", unit="s",
    ),
    "specific_query_burst": Key(
        "After leaves: queries for single groups that are sent at once on an interface, after a silence.",
        "100", unit="queries",
    ),
    "specific_query_rate": Key(
        "After that: such queries a second. A leave whose query waits ends its group later.", "100", unit="queries/s",
    ),
    "older_querier_timeout": Key(
        "Upstream: how long version 1 or 2 is spoken after a query of that version.", "260.0", unit="s",
    ),
    "igmp_priority": Key(
        "Priority of IGMP that is sent, as queues and VLAN egress maps of the system know it (SO_PRIORITY): 7 is that"
        " of control traffic.",
        "6",
    ),
    "report_interval": Key(
        "Upstream: what is wanted is reported again after each such time though nobody asked, for networks without a"
        " querier. 0: never.",
        "60.0", unit="s",
    ),
    "linger": Key(
        "Upstream: a leave waits so long for another join, as when somebody zaps back. 0: it does not wait.",
        "2.0", unit="s",
    ),
    "require_router_alert": Key(
        "Drop messages of any version without the Router Alert option, instead of only counting them.", "true",
    ),
    "accept_any_ttl": Key(
        "Accept IGMP whose TTL is not 1, as some old hosts send it. Others could send it from far away.", "true",
    ),
    "strict_sources": Key(
        "Upstream: accept IGMP only from addresses in the interface's subnets and `altnets`.", "true",
    ),
    "gmi_rfc3376": Key(
        "A membership ends one `query_response_interval` earlier, as RFC 3376 has it (RFC 9776 has two).", "true",
    ),
    "rfc9776": Key(
        "Upstream: work `older_querier_timeout` out from the querier's values, as RFC 9776 has it.", "true",
    ),
    "merge_only_querier": Key(
        "Join upstream only what interfaces want where mcfwd is the querier.", "true",
    ),
    "forward_when_not_querier": Key(
        "Forward to downstream interfaces where another router is the querier too. If that router forwards as well,"
        " receivers get everything twice; RFC 4605 says not to.",
        "true",
    ),
    "ssm_range": Key(
        "Groups that can be joined only with their sources (RFC 4607). An empty list: none.",
        '["232.0.0.0/8", "233.252.0.0/14"]', values="a network of groups, or a list of them",
    ),
    "ssm_upstream": Key(
        "Whether what downstream hosts send to groups of `ssm_range` goes upstream unasked, as other groups do.",
        "false",
    ),
}  # fmt: skip

OF_SINGLE_INTERFACES = (
    "robustness", "query_interval", "max_query_interval", "query_response_interval", "last_member_query_interval",
    "last_member_query_count", "startup_query_interval", "startup_query_count", "unsolicited_report_interval",
    "specific_query_burst", "specific_query_rate", "older_querier_timeout", "igmp_priority", "report_interval",
    "linger", "require_router_alert", "accept_any_ttl", "gmi_rfc3376", "rfc9776", "forward_when_not_querier",
)  # fmt: skip
INTERFACE |= {
    key: replace(IGMP[key], meaning="As in `[igmp]`, for this interface. Unset: what that says.")
    for key in OF_SINGLE_INTERFACES
}

ROUTE = {
    "group": Key(
        "The group, or a network of groups, that this route speaks of; it is not learned any more.",
        '"239.1.2.0/24"', values="a group or a network of groups",
    ),
    "source": Key("Only from this source. Unset: any.", '"10.0.0.7"', values="an address or a network"),
    "upstream": Key(
        "Only where it comes in by this interface; elsewhere it is dropped. Unset: any.",
        '"eth0"', values="a name or wildcard",
    ),
    "interfaces": Key(
        "Where it goes, whoever has joined. Empty: nowhere, it is blocked. Its former name: `downstreams`.",
        '["eth1", "tap*"]', values="a list of names and wildcards",
    ),
}  # fmt: skip

DATAPLANE = {
    "profile": Key(
        "What is favoured: `latency`, `throughput`, or something of both (docs/performance.md).", '"latency"',
    ),
    "gather_ms": Key(
        "Time between two batches under load, up to a quarter longer where fewer than 50 frames come in it. "
        "Unset: the profile's, which is 0, 2 or 5 in the order of its values.",
        "1.0", unit="ms",
    ),
    "busy_poll": Key("Workers never sleep: a core each, for the last microseconds of latency.", "true"),
    "burst": Key(
        "Datagrams of a stream that leave back to back, before a pause in which receivers can take them.",
        "16", unit="datagrams",
    ),
    "workers": Key("Processes that forward. More than one pays with several streams and free cores.", "2"),
    "ring_memory": Key(
        "Bound for the receive rings of all interfaces together; each needs 512 KiB for each worker at least.",
        '"64MiB"', unit="bytes", values='at least 1 MiB; a whole number, or text such as "64MiB", "1GiB", "500MB"',
    ),
    "max_ports": Key(
        "Most interfaces that are served, those that wildcards bring included. Unset: as many as are named, and twice"
        " as many as wildcards match, with room for some more.",
        "256", unit="interfaces",
    ),
    "max_flows": Key("Most flows (source and group) that are remembered, by each worker.", "1024", unit="flows"),
    "max_routes": Key("Most routes, learned and static.", "4096", unit="routes"),
    "flow_limit": Key(
        "New flows that a worker takes on in one batch; the first datagrams of more are dropped.", "64", unit="flows",
    ),
    "failover_time": Key(
        "Of several upstreams: how long a flow may be silent on one before another takes it over.", "0.5", unit="s",
    ),
}  # fmt: skip

CONTROL = {
    "socket": Key(
        "Path of the Unix socket that answers `mcfwd show` and REST. Unset: the first of the usual places that can be"
        " written to (docs/operating.md). `--socket` and `MCFWD_SOCKET` win over it.",
        '"/run/mcfwd/mcfwd.sock"', values="1 to 107 bytes",
    ),
    "socket_group": Key(
        "The group whose users may ask too, which includes changing routes and groups. Unset: the group of whoever"
        " starts mcfwd.",
        '"adm"', values="a group of this system, by name or number",
    ),
    "socket_mode": Key(
        'Who may ask: `"0600"` the user that starts mcfwd, and root; `"0660"` the group too; `"0666"` everybody on this'
        " machine.",
        '"0600"',
    ),
}  # fmt: skip

PROCESS = {
    "user": Key(
        "Where root starts mcfwd: the user that parses and forwards, without any capability. Unset: nobody. Empty:"
        " whoever starts it.",
        '"mcfwd"', values="a user of this system that is not root, or empty",
    ),
}  # fmt: skip

TOP = {
    "mode": Key("There is one.", '"proxy"'),
    "include": Key(
        "Other files, whose tables are added as if they stood behind those of this file: names relative to its folder,"
        " the last part of which may be a wildcard. What two files say is an error.",
        '["conf.d/*.toml"]', values="a list of names of files and wildcards",
    ),
}

KEYS: dict[str, dict[str, Key]] = {
    "": TOP, "interface": INTERFACE, "igmp": IGMP, "route": ROUTE, "dataplane": DATAPLANE, "control": CONTROL,
    "process": PROCESS,
}  # fmt: skip
"""By table, "" for what stands before the first one, and by key."""
