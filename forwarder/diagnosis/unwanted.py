"""Why a flow goes to nobody, in words: what static routes say of it, or interfaces on which nobody could join. Pure."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from forwarder.state.contradictions import Overruling, route_note, words_of_route
from forwarder.state.ports import Port
from forwarder.state.settings import RouteSettings

NOBODY = "nobody has joined"
UNROUTED = "no static route names it, and {0} is both: what comes in there goes where routes say, and nowhere else"
NAMED = 8               # interfaces in a hint; `show interfaces` has them all


class Unwanted:
    """Asked for each flow of an answer; what all of them need is made once, and only if there is such a flow."""

    def __init__(self, ports: Sequence[Port], routes: Sequence[RouteSettings], degraded: Mapping[int, str]) -> None:
        """`degraded`: why ports are not served, by index."""
        self._ports, self._routes, self._degraded = ports, routes, degraded

    def hint(self, source: int, group: int, ingress: Port | None = None) -> str:
        """Why the flow of `source` and `group`, which comes in by `ingress`, goes nowhere."""
        route = self.ruling.route(source, group)
        if route is not None:
            return self.ruled(route)
        return UNROUTED.format(ingress.name) if ingress and ingress.role == "both" else f"{NOBODY}{self.deaf}"

    def ruled(self, route: RouteSettings) -> str:
        """A static route is there instead of members: it blocks, cannot, or knows only where the flow comes from."""
        words = words_of_route(route)
        if not route.interfaces:
            return f"blocked by the static route {words}, which has no interfaces"
        note = route_note(route, self._ports) or f"leads to {named(route.interfaces)} alone"
        return f"the static route {words} {note}; it counts instead of who has joined"

    @cached_property
    def ruling(self) -> Overruling:
        """Which static route decides about what."""
        return Overruling(self._routes, self._ports)

    @cached_property
    def deaf(self) -> str:
        """Where joins are not heard; a missing interface of a wildcard is none of the ports."""
        states = {port.name: self._state(port) for port in self._ports if port.role == "downstream"}
        deaf = [f"{name} ({state})" for name, state in states.items() if state != "up"]
        return f"; no join is heard on {named(deaf)}: see mcfwd show interfaces" if deaf else ""

    def _state(self, port: Port) -> str:
        return "degraded" if port.state == "up" and port.index in self._degraded else port.state


def named(names: Sequence[str]) -> str:
    """Some of many names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
