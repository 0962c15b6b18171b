"""What the protocol noticed, in words for the log."""

from igmp.link import format_address
from igmp.outputs import Notice

WORDS = {
    "querier_conflict": "{address} queries on {port} although its address is higher than the elected querier's",
    "older_querier": "the querier {address} on {port} speaks an older version of IGMP than ours",
    "rare_querier": "the querier {address} on {port} asks less often than max_query_interval: members may be forgotten"
    " between its queries",
    "own_address": "somebody on {port} speaks with our own address {address}",
    "limit_reached": "a limit of {port} is reached: something of {address} was refused",
    "sources_lost": "an older querier on {port} makes us report {address} whole, without its sources",
}


def words_of(notice: Notice, port: str) -> str:
    """One line for the log."""
    words = WORDS.get(notice.kind, f"{notice.kind}: {{address}} on {{port}}")
    return words.format(address=format_address(notice.address), port=port)
