"""What was decided of flows, for a log of level DEBUG; to be asked for only where somebody reads that (`wanted`).

That wanted flows found no room is a warning.
"""

import logging
from collections.abc import Sequence

from forwarder.dataplane.fib import Decided
from forwarder.dataplane.pair_index import Pairs
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from igmp.link import format_address

log = logging.getLogger(__name__)

MOST = 32       # flows of one batch, and ports of one flow; the others are counted


def wanted() -> bool:
    """Whether anybody reads it."""
    return log.isEnabledFor(logging.DEBUG)


def tell(ports: Sequence[Port], ingress: int, pairs: Pairs, decided: Decided) -> None:
    """Of the flows source << 32 | group that came in by `ingress`: one line each."""
    names = {port.index: port.name for port in ports}
    for pair, which in zip(pairs[:MOST].tolist(), decided.which[:MOST].tolist(), strict=True):
        reason, egress, _ = decided.choices[which]
        goes = [names.get(at, str(at)) for at in range(egress.bit_length()) if egress >> at & 1]
        more = [f"{len(goes) - MOST} more"] if len(goes) > MOST else []
        where = f" to {', '.join(goes[:MOST] + more)}" if reason == Reason.FORWARD else ""
        log.debug("%s: %s of %s: %s%s", names.get(ingress, str(ingress)), format_address(pair & 0xFFFFFFFF),
                  format_address(pair >> 32), reason.name.lower(), where)
    if len(decided.which) > MOST:
        log.debug("%s: %d more flows were decided", names.get(ingress, str(ingress)), len(decided.which) - MOST)


def tell_homeless(ports: Sequence[Port], times: int, ingress: int, pair: int, capacity: int) -> None:
    """Wanted flows were turned away so many times lately; the last one was source << 32 | group, by `ingress`."""
    name = next((port.name for port in ports if port.index == ingress), str(ingress))
    log.warning(
        "%s: no room for %s of %s among %d flows (%d times such a flow was dropped lately): raise max_flows",
        name, format_address(pair & 0xFFFFFFFF), format_address(pair >> 32), capacity, times,
    )  # fmt: skip
