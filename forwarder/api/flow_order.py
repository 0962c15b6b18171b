"""The flows of a worker, and the order in which an answer has them, by whole columns. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from forwarder.api import flow_rates
from forwarder.api.pages import Page
from forwarder.api.samples import Sample
from forwarder.api.views import port_names
from forwarder.diagnosis.losses import Flow
from forwarder.diagnosis.verdicts import BY_EXPIRY, NOT_UP, STOPPED
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.flow_columns import FlowColumns, Words
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.segment import join_bitmap

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

GOOD, QUIET = (Reason.FORWARD,), (Reason.NO_MEMBERS, Reason.STANDBY_DUPLICATE)
LAST_REASON = max(Reason)
VERDICTS = np.array([Reason(number).name.lower() for number in range(LAST_REASON + 1)])
BITS = 8
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class WorkerFlows:
    """The flows of one worker; `stopped`: it has not lived for a while; `before`: what it had counted lately."""

    columns: FlowColumns
    drops: Sequence[FlowDrop] = ()
    stopped: bool = False
    before: Sample | None = None


def pairs_of(columns: FlowColumns, rows: Rows) -> Words:
    """Source << 32 | group of each row."""
    return columns.source[rows] << _HALF | columns.group[rows]


def badness(table: FlowColumns, rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """0 for what somebody does not get, 1 for what nobody wants, 2 for what is forwarded; and packets."""
    reason, packets = table.reason[rows], table.packets[rows].astype(np.int64)
    kind = np.select([np.isin(reason, GOOD), np.isin(reason, QUIET)], [2, 1], 0)
    expired = (table.ttl_expired[rows] > 0) & (packets == 0)
    return np.where(expired, 0, kind), packets + table.dropped[rows].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Looked:
    """The rows of one table that are put into an order."""

    table: WorkerFlows
    rows: Rows
    ports: Mapping[int, Port]
    now_ns: int

    def column(self, name: str) -> Words:
        """A column's cells."""
        cells: Words = getattr(self.table.columns, name)[self.rows]
        return cells

    @property
    def expired(self) -> Mask:
        """Flows of which nothing else came than what had expired."""
        alone: Mask = (self.column("ttl_expired") > 0) & (self.column("packets") == 0)
        alone &= np.isin(self.column("reason"), BY_EXPIRY)
        return alone

    def shown_packets(self) -> Words:
        """As a row says."""
        return np.where(self.expired, self.column("dropped"), self.column("packets"))

    def rate(self, name: str) -> Floats:
        """What is counted a second, NaN where that is not known."""
        counted = [("packets", self.column("packets")), ("dropped", self.column("dropped")),
                   ("octets", self.column("bytes"))]  # fmt: skip
        first_seen, before = self.column("first_seen"), self.table.before
        packets, dropped, octets = flow_rates.of_flows(before, self.now_ns, self.rows, first_seen, counted)
        return octets if name == "octets" else np.where(self.expired, dropped, packets)

    def age(self, name: str) -> Floats:
        """Nanoseconds since the time in a column; NaN where it has none."""
        time = self.column(name).astype(np.float64)
        return np.where(time > 0, np.maximum(self.now_ns - time, 0), np.nan)

    def upstreams(self) -> list[str | None]:
        """Names."""
        names = {index: port.name for index, port in self.ports.items()}
        return [names.get(ingress) for ingress in self.column("ingress").tolist()]

    def downstreams(self) -> list[str | None]:
        """Names behind one another, such that they compare as lists of them do."""
        names = {index: port.name for index, port in self.ports.items()}
        joined = cache(lambda bitmap: "\x01".join(port_names(join_bitmap(bitmap), names)))
        return [joined(tuple(words)) for words in self.table.columns.ports[self.rows].tolist()]

    def verdicts(self) -> list[str | None]:
        """In the words of a row."""
        if self.table.stopped:
            return [STOPPED] * len(self.rows)
        words = VERDICTS[np.minimum(self.column("reason"), LAST_REASON).astype(np.intp)].astype(object)
        words[self.expired] = Reason.TTL_EXPIRED.name.lower()
        for ingress in np.unique(self.column("ingress")).tolist():
            state = self.ports[ingress].state if ingress in self.ports else "missing"
            if state != "up":
                words[self.column("ingress") == ingress] = NOT_UP[state]
        verdicts: list[str | None] = words.tolist()
        return verdicts

    def dropped(self) -> Floats:
        """Packets that were lost at single egresses."""
        lost: dict[Flow, int] = {}
        for drop in self.table.drops:
            if drop.egress in self.ports:
                lost[drop.ingress, drop.pair] = lost.get((drop.ingress, drop.pair), 0) + drop.packets
        flows = zip(self.column("ingress").tolist(), pairs_of(self.table.columns, self.rows).tolist(), strict=True)
        return np.array([lost.get(flow, 0) for flow in flows], np.float64)


ORDERS: dict[str, Callable[[_Looked], Words | Floats | list[str | None]]] = {
    "group": lambda looked: looked.column("group"),
    "source": lambda looked: looked.column("source"),
    "upstream": _Looked.upstreams,
    "downstreams": _Looked.downstreams,
    "packets": _Looked.shown_packets,
    "bytes": lambda looked: looked.column("bytes"),
    "wrong_packets": lambda looked: np.where(
        looked.column("reason") == Reason.WRONG_INTERFACE, looked.column("packets"), np.uint64(0)
    ),
    "idle": lambda looked: looked.age("last_seen"),
    "verdict": _Looked.verdicts,
    "dropped": _Looked.dropped,
    "packets_per_second": lambda looked: looked.rate("packets"),
    "bits_per_second": lambda looked: looked.rate("octets"),
    "since": lambda looked: looked.age("first_seen"),
}
"""By key of a row, what is compared; a row's hint is made with it, and no column."""


def order_of(
    tables: Sequence[WorkerFlows], found: Sequence[Rows], ports: Sequence[Port], asked: Page, now_ns: int
) -> Rows:
    """As `ordering.ordered`: rows without a value last."""
    by_index = {port.index: port for port in ports}
    column = ORDERS[asked.key or ""]
    values = [column(_Looked(table, rows, by_index, now_ns)) for table, rows in zip(tables, found, strict=True)]
    texts = [each for each in values if isinstance(each, list)]
    arrays = [each.astype(np.float64) for each in values if not isinstance(each, list)]
    numbers = _ranks(texts) if texts else np.concatenate(arrays)
    return np.argsort(-numbers if asked.descending else numbers, kind="stable")


def _ranks(texts: Sequence[Iterable[str | None]]) -> Floats:
    """The place of each text among all there are; NaN for None."""
    every = [text for part in texts for text in part]
    places = {text: place for place, text in enumerate(sorted({text for text in every if text is not None}))}
    return np.array([np.nan if text is None else places[text] for text in every], np.float64)
