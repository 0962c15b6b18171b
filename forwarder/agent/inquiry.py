"""All that the protocol knows of one group, for who asks why it does not arrive.

An answer costs by the number of ports, not by that of groups. A row says by `about` what it is of; an empty one gives
the loop its turn, so that thousands of ports with full tables hold nothing up.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from forwarder.agent.status import group_rows, host_rows, refusal_rows, upstream_rows
from igmp.outputs import GroupStatus
from igmp.proxy import Proxy

Row = dict[str, Any]
MOST_REFUSALS = 16      # of a port: the newest


class Inquiry:
    """`clock` is monotonic seconds."""

    def __init__(self, proxy: Proxy, clock: Callable[[], float]) -> None:
        self._proxy, self._clock = proxy, clock

    def answer(self, request: Row) -> Iterator[Row]:
        """`{"group", "host"}`, addresses as numbers, `host` null: nobody in particular. KeyError, TypeError."""
        group, host = int(request["group"]), request["host"]
        return self._answer(group, None if host is None else int(host))

    def _answer(self, group: int, host: int | None) -> Iterator[Row]:
        now, proxy = self._clock(), self._proxy
        yield from _about("group", _with_age(list(proxy.each_of_group(group, now))))
        yield from _about("host", host_rows(proxy.each_wish_of(host, group, now)) if host is not None else ())
        yield from _about("upstream", upstream_rows(proxy.each_upstream_of(group)))
        for query in proxy.each_query(now):
            yield {"about": "query", "port": query.port, "source": query.source, "version": query.version,
                   "age": query.age}  # fmt: skip
        for rows in proxy.each_refusal_of(group, now):
            own = [row for row in rows[:-MOST_REFUSALS] if row.host == host]
            yield from _about("refusal", refusal_rows([*own, *rows[-MOST_REFUSALS:]]))
            yield {}


def _with_age(groups: list[GroupStatus]) -> Iterator[Row]:
    for status, row in zip(groups, group_rows(groups), strict=True):
        yield {**row, "heard": status.heard}


def _about(what: str, rows: Iterable[Row]) -> Iterator[Row]:
    return ({"about": what, **row} for row in rows)
