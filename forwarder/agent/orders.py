"""What people have the protocol do at once: ask on ports what is wanted, or forget what is and ask.

An order names downstream ports by index; its answer has a row for each of them that there is. What cannot be read
raises KeyError or TypeError.
"""

from collections.abc import Callable, Iterable
from typing import Any

from igmp.outputs import Output
from igmp.proxy import Proxy

Row = dict[str, Any]
Request = dict[str, Any]


class Orders:
    """What the protocol answers goes to `apply`; `clock` is monotonic seconds."""

    def __init__(self, proxy: Proxy, apply: Callable[[Iterable[Output]], None], clock: Callable[[], float]) -> None:
        self._proxy, self._apply, self._clock = proxy, apply, clock

    def query(self, request: Request) -> list[Row]:
        """`{"ports"}`: ask there."""
        return self._carry_out(request, self._proxy.query)

    def clear(self, request: Request) -> list[Row]:
        """`{"ports", "group"}`: forget who wants the group there, null: anything, and ask."""
        group = request["group"]
        return self._carry_out(request, lambda port, now: self._proxy.forget(port, group, now))

    def _carry_out(self, request: Request, order: Callable[[int, float], list[Output]]) -> list[Row]:
        return [self._carry_out_on(port, order) for port in request["ports"] if self._proxy.querier(port)]

    def _carry_out_on(self, port: int, order: Callable[[int, float], list[Output]]) -> Row:
        before = self._proxy.group_count(port)
        self._apply(order(port, self._clock()))
        status = self._proxy.querier(port)
        assert status is not None
        forgotten = before - self._proxy.group_count(port)
        return {"port": port, "asked": status.querier, "querier": status.address, "forgotten": forgotten}
