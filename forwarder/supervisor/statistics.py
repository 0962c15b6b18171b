"""What ports have carried, in words for the end of the log."""

from collections import Counter
from collections.abc import Iterable, Iterator

from forwarder.state.ports import Port
from forwarder.state.worker_segment import PortCounters, WorkerReader
from forwarder.units import size

MOST = 500      # ports that have a line; what all carried is in the last


def final(ports: Iterable[Port], workers: Iterable[int]) -> Iterator[tuple[str, str]]:
    """A line for each port, as its name and its words, of what all workers counted; `workers`: their segments."""
    readers = [WorkerReader(segment) for segment in workers]
    ports = list(ports)
    rows = [(port, [row for reader in readers if (row := reader.port(port.index)).assigned == port.assigned])
            for port in ports]  # fmt: skip
    for port, counted in rows[:MOST]:
        yield port.name, _words(counted)
    if len(ports) > MOST:
        yield "all interfaces", _words([each for _, counted in rows for each in counted])


def _words(counted: list[PortCounters]) -> str:
    drops: Counter[str] = Counter()
    for each in counted:
        drops.update({reason: number for reason, number in each.drops.items() if number})
    received, sent = sum(each.rx_packets for each in counted), sum(each.tx_packets for each in counted)
    dropped = ", ".join(f"{reason} {number}" for reason, number in drops.most_common())
    return (f"received {received} packets ({size(sum(each.rx_bytes for each in counted))}), "
            f"sent {sent} ({size(sum(each.tx_bytes for each in counted))}), dropped {dropped or 'none'}")  # fmt: skip
