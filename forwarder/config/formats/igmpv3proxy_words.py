"""The words of igmpv3proxy.conf beside those of igmpproxy.conf, and what of them has no counterpart here."""

from typing import NamedTuple


class Number(NamedTuple):
    """An option with a number: our key, its range, and whether it is a code of tenths of a second (RFC 9776 4.1.1)."""

    key: str
    most: int
    is_code: bool = False
    is_shared: bool = True      # a key of [igmp] too


_RESPONSE = Number("query_response_interval", 255, is_code=True)
NUMBERS = {
    "robustness": Number("robustness", 7), "robustnessvalue": Number("robustness", 7),
    "queryinterval": Number("query_interval", 255),
    "queryresponseinterval": _RESPONSE, "queryrepsonseinterval": _RESPONSE,     # as it is spelled in its source
    "lastmemberinterval": Number("last_member_query_interval", 255, is_code=True),
    "lastmembercount": Number("last_member_query_count", 7),
    "querierver": Number("igmp_version", 3, is_shared=False),
    "maxorigins": Number("max_sources", 65535, is_shared=False),
}  # fmt: skip
LISTS = frozenset({"altnet", "allowednet", "deniednet", "whitelist", "blacklist", "filter", "ssmrange"})
AS_EVER = frozenset({"querierelection", "cksumverify", "noproxylocalmc", "noquickleave"})
FLAGS = {
    "noquerierelection": "has no counterpart: of several queriers one is elected, always",
    "nocksumverify": "has no counterpart: damaged messages are dropped, always",
    "proxylocalmc": "has no counterpart: 224.0.0.0/24 is never forwarded, and the rest of 224.0.0.0/8 always",
    "nodefaultfilter": "has no counterpart: an interface takes its own networks and what altnet says",
}
WITH_NUMBER = {
    "hashtablesize": "has no counterpart: hosts are told apart by their addresses, up to max_hosts",
    "table": "has no counterpart: run an instance for each table",
    "bwcontrol": "has no counterpart: see rate_limit",
    "mctables": "", "routetables": "", "kbufsize": "", "pbufsize": "", "reqqueuesize": "", "timerqueuesize": "",
    "rescanconf": "has no counterpart: SIGHUP reads the file again", "loglevel": "has no counterpart: see --log-level",
}  # fmt: skip
WITH_TEXT = {
    "logfile": "has no counterpart: the log goes to standard error",
    "group": "has no counterpart in this file: see [control] socket_group",
    "cligroup": "has no counterpart in this file: see [control] socket_group",
}
DEFAULT_ROLES = {"defaultup": "upstream", "defaultupdown": "downstream"}
OPTIONS = frozenset({"updownstream", "quickleave", "defaultfilterany", "querierip", "hashtablesize", "bwcontrol",
                     "table", *NUMBERS, *LISTS, *AS_EVER, *FLAGS})  # fmt: skip
_DEFAULTS = frozenset(f"default{each}" for each in ("ratelimit", "threshold", *OPTIONS))
GLOBAL = frozenset({*DEFAULT_ROLES, *WITH_NUMBER, *WITH_TEXT, *NUMBERS, *AS_EVER, *FLAGS, "include", "rescanvifnl",
                    "defaultfilterany", "ssmrange", *_DEFAULTS})  # fmt: skip
KEYWORDS = GLOBAL | OPTIONS
ONLY = KEYWORDS - {"quickleave", "hashtablesize", "altnet", "whitelist", "blacklist"}
