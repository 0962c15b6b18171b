"""Names of the IGMP counters of a port, in the order of their columns; every counter starts at 0.

A dropped packet counts under one `rx_` name; `rx_no_router_alert` and the names of damaged records count what
is tolerated too. `rx_link_local` (in a version 3 report), `rx_ssm_exclude` and `rx_unknown_record` count
records, `rx_bad_record_source` counts sources, all others packets. Message types count what was accepted.
"""

RECEIVE_COUNTERS: tuple[str, ...] = (
    "rx_own",
    "rx_bad_ip",
    "rx_fragment",
    "rx_bad_source",
    "rx_bad_ttl",
    "rx_bad_length",
    "rx_bad_checksum",
    "rx_no_router_alert",
    "rx_unknown_type",
    "rx_malformed",
    "rx_bad_query_dst",
    "rx_query_zero_source",
    "rx_bad_dst",
    "rx_bad_group",
    "rx_link_local",
    "rx_boundary",
    "rx_ssm_legacy",
    "rx_ssm_exclude",
    "rx_bad_record_source",
    "rx_unknown_record",
)
STATE_COUNTERS: tuple[str, ...] = ("leave_untracked", "limit_reached")
MESSAGE_COUNTERS: tuple[str, ...] = (
    "query_v1",
    "query_v2",
    "query_v3",
    "report_v1",
    "report_v2",
    "report_v3",
    "leave",
)
TRANSMIT_COUNTERS: tuple[str, ...] = tuple(f"tx_{name}" for name in MESSAGE_COUNTERS)
SOCKET_COUNTERS: tuple[str, ...] = ("tx_failed", "rx_queue_full")     # counted by whoever holds the socket
RATE_COUNTERS: tuple[str, ...] = (
    "query_deferred",       # leaves whose queries had to wait
    "leave_unasked",        # leaves that could not be asked about: what was left goes on until its timers end
    "query_private",        # specific queries of others that no member could hear: they shorten nothing
)
HOST_COUNTERS: tuple[str, ...] = (     # what this host's own kernel says upstream, which we overhear
    "host_report",
    "host_ignored",         # outgoing IGMP that is none of its reports
    "host_limit",           # memberships of its own that found no room, or have too many sources to be remembered
)
COUNTERS: tuple[str, ...] = (
    RECEIVE_COUNTERS + STATE_COUNTERS + MESSAGE_COUNTERS + TRANSMIT_COUNTERS + SOCKET_COUNTERS + RATE_COUNTERS
    + HOST_COUNTERS
)
