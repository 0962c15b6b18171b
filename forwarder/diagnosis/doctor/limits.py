"""Limits of the system against what ports and processes need. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, LimitFacts
from forwarder.diagnosis.doctor.finding import ERROR, NOTE, WARNING, Finding, Kind, command
from forwarder.units import listed, size

RECEIVE = Kind("small receive buffers", NOTE)
RECEIVE_LATENCY = Kind("small receive buffers for latency", WARNING)
SEND = Kind("small send buffers", NOTE)
SEND_FAILED = Kind("send buffers overrun", WARNING)
FILTERS = Kind("no memory for filters", ERROR)
GROUP = Kind("memory limit", WARNING)
MACHINE = Kind("little memory", WARNING)
MEMBERSHIPS = Kind("memberships of programs", NOTE)

STEP = 64 << 20         # octets: limits are numbers that people would choose


def findings(facts: Facts) -> Iterator[Finding]:
    """The buffers are for sockets of interfaces, so without any nothing is asked of them."""
    if facts.interfaces:
        yield from _buffers(facts)
    limits = facts.limits
    if limits.memory is not None and limits.memory < limits.needed + limits.growth:
        enough = -(-(limits.needed + limits.growth) // STEP) * STEP
        yield GROUP.mended(
            "memory", f"the control group may have {size(limits.memory)}; the processes take {size(limits.needed)} at"
            f" first and shall have {size(limits.growth)} to grow: the kernel kills one where that is exceeded",
            f"echo {enough} > {command(limits.memory_file)}", "docker update --memory, MemoryMax= of a unit",
        )  # fmt: skip
    if limits.available is not None and limits.available < limits.needed + limits.rings and not facts.instance.exists:
        yield MACHINE.found(
            "memory", f"{size(limits.available)} of memory are available, and mcfwd takes {size(limits.needed)} and"
            f" {size(limits.rings)} for receive rings",
            "free memory, or a smaller ring_memory in [dataplane]",
        )  # fmt: skip


def _buffers(facts: Facts) -> Iterator[Finding]:
    limits = facts.limits
    if _less(limits.filters, limits.wanted_filters):
        yield FILTERS.mended(
            "net.core.optmem_max", f"it is {limits.filters}, and a filter takes up to {limits.wanted_filters} octets:"
            " no interface can be opened",
            "sysctl -w net/core/optmem_max=131072",
        )  # fmt: skip
    if _less(limits.receive, limits.wanted_receive):
        kind = RECEIVE_LATENCY if limits.latency else RECEIVE
        yield _raised(kind, "net.core.rmem_max", limits.receive, limits.wanted_receive,
                      "super-frames of senders that segment, and bursts of IGMP reports, find no more room than that",
                      )  # fmt: skip
    if _less(limits.send, limits.wanted_send):
        failed = [each.name for each in facts.interfaces if each.transmit_failed]
        why = "a network card that is slow to send loses what is more (transmit_failed)"
        kind = SEND_FAILED if failed else SEND
        words = f"{why}, as happened on {listed(failed)}" if failed else why
        yield _raised(kind, "net.core.wmem_max", limits.send, limits.wanted_send, words)
    yield from _memberships(facts, limits)


def _memberships(facts: Facts, limits: LimitFacts) -> Iterator[Finding]:
    """It is a limit of one socket; a program that is refused there often says nothing."""
    joined = facts.programs.receivers
    crowded = {name for name in (each.interface for each in joined)
               if sum(each.interface == name for each in joined) >= (limits.memberships or 1 << 30)}  # fmt: skip
    if crowded:
        yield MEMBERSHIPS.mended(
            "net.ipv4.igmp_max_memberships", f"programs of this host have joined {limits.memberships} groups or more on"
            f" {listed(sorted(crowded))}, as many as one socket may; it is no limit of mcfwd's",
            f"sysctl -w net/ipv4/igmp_max_memberships={_above(len(joined))}", "before the programs start",
        )  # fmt: skip


def _above(number: int) -> int:
    """A round number with room for as many again."""
    return max(200, -(-2 * number // 100) * 100)


def _less(value: int | None, wanted: int) -> bool:
    return value is not None and value < wanted


def _raised(kind: Kind, name: str, value: int | None, wanted: int, why: str) -> Finding:
    return kind.mended(
        name, f"it is {size(value or 0)}, and ports ask for {size(wanted)}: {why}",
        command("sysctl", "-w", f"{name.replace('.', '/')}={wanted}"), "before mcfwd starts",
    )  # fmt: skip
