"""What the protocol noticed, and who asks on a port, in words for the log that are about a port."""

from igmp.link import format_address
from igmp.outputs import Notice, Role

WORDS = {
    "querier_conflict": "{address} queries although its address is higher than the elected querier's",
    "older_querier": "{address} queries in IGMPv{version}, an older version than the IGMPv{ours} that we speak "
                     "(igmp_version): routers of a link must speak the same",
    "newer_querier": "{address} queries in IGMPv{version}, a newer version than the IGMPv{ours} that we speak "
                     "(igmp_version): routers of a link must speak the same",
    "rare_querier": "{address} is the querier and asks less often than max_query_interval: members may be forgotten "
                    "between its queries",
    "querier_without_address": "somebody queries from 0.0.0.0: a switch that snoops, or a second router without an "
                               "address; if that forwards too, everything arrives twice",
    "own_address": "somebody speaks with our own address {address}",
    "limit_reached": "{limit} is reached: {group} is refused to {address}, or a part of it",
    "sources_lost": "an older querier makes us report {address} whole, without its sources",
    "fallback": "the querier {address} speaks IGMPv{version}, so that is what we report in{whole}",
    "back": "no older querier was heard for a while: we report in IGMPv{version} again",
}  # fmt: skip
CHANGES = ("fallback", "back")      # those that say what is so now; the others say what is wrong


def words_of(notice: Notice, ours: int) -> str:
    """A notice; `ours`: the version that we speak on its port."""
    words = WORDS.get(notice.kind, f"{notice.kind}: {{address}}").format(
        address=format_address(notice.address), group=format_address(notice.group), version=notice.version, ours=ours,
        limit=notice.limit, whole=_whole(notice.count),
    )
    return f"{words} (and {notice.missed} like it that are not shown)" if notice.missed else words


def _whole(groups: int) -> str:
    """What a fallback costs."""
    if not groups:
        return ""
    return f"; it knows no sources, so {groups} group{'s' if groups > 1 else ''} with sources must be reported whole"


# RFC 4605 3 g, 5 a
def role_words(role: Role, former: Role, forwards: bool, asks: bool) -> str:
    """Who asks now; `forwards`: we forward all the same where another does; `asks`: we may ask (`querier`)."""
    does = "forward there all the same" if forwards else "do not forward there"
    address, before = format_address(role.address), format_address(former.address)
    if role.querier:
        won = f"; {before} is silent" if former.address and not former.querier else ""
        return f"we are the querier now, with the address {address}{won}"
    if not role.address:
        why = "it has no address (querier_address)" if asks else "we may not ask (querier)"
        return f"nobody is known to query: {why}; we {does} (forward_when_not_querier)"
    return f"{address} is the querier now; we {does} (forward_when_not_querier)"
