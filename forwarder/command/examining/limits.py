"""Limits of the system, and what a configuration needs of them (docs/operating.md, Memory; docs/performance.md)."""

from pathlib import Path

from forwarder.command.examining.files import number, text
from forwarder.diagnosis.doctor.facts import LimitFacts
from forwarder.packet.packet_socket import COPY_BUFFER, IGMP_BUFFER, SEND_BUFFER
from forwarder.state.settings import Settings
from forwarder.supervisor.memory_limit import FILES, groups
from forwarder.supervisor.thrift import GROWTH

PROC = Path("/proc")
FIRST, WORKER = 97 << 20, 23 << 20      # octets: all processes with one worker, and one more
PORT = 50 << 10                         # octets of a port
FILTERS = 2048      # octets: 18 instructions, of which the kernel makes three times as many of 8, and its notes
LATENCY = "latency"


def facts(settings: Settings | None, ports: int, process: int | None, proc: Path = PROC) -> LimitFacts:
    """`ports`: of the configuration; `process`: of the instance whose control group counts, None for our own."""
    core = proc / "sys" / "net" / "core"
    workers = settings.dataplane.workers if settings else 1
    limit, file = _control_group(proc, process)
    return LimitFacts(
        receive=number(core / "rmem_max"),
        send=number(core / "wmem_max"),
        filters=number(core / "optmem_max"),
        wanted_receive=max(COPY_BUFFER, IGMP_BUFFER),
        wanted_send=SEND_BUFFER,
        wanted_filters=FILTERS,
        latency=bool(settings) and settings.dataplane.profile == LATENCY if settings else False,
        memberships=number(proc / "sys" / "net" / "ipv4" / "igmp_max_memberships"),
        memory=limit,
        memory_file=file,
        needed=FIRST + (workers - 1) * WORKER + ports * PORT,
        growth=GROWTH,
        available=_available(proc),
        rings=settings.dataplane.ring_memory if settings else 0,
    )


def _control_group(proc: Path, process: int | None) -> tuple[int | None, str]:
    """The smallest limit that holds for us, or for an instance that we can see, and the file that has it."""
    known = process is not None and groups(proc / str(process))
    limited = [(limit, str(each.directory / FILES[each.version].limit)) for each in known or groups(proc / "self")
               if (limit := each.limit) is not None]  # fmt: skip
    return min(limited, default=(None, ""), key=lambda each: each[0] or 0)


def _available(proc: Path) -> int | None:
    rows = (line.split() for line in text(proc / "meminfo", 1 << 16).splitlines())
    kib = next((row[1] for row in rows if len(row) > 1 and row[0] == "MemAvailable:"), "")
    return int(kib) << 10 if kib.isascii() and kib.isdigit() else None
