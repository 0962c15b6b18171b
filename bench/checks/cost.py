"""Processors and memory."""

from bench.checks.model import Check


def _own(name: str, rate: str, floor: float, goal: float) -> Check:
    words = f"user time of mcfwd's processes for each datagram delivered, {rate} pps x 4, balanced"
    return Check(name, words, "us", floor, goal, (name, "mcfwd", "user"), more=False, scale=1e6)


COST: tuple[Check, ...] = (
    Check(
        "cpu-20k",
        "whole-machine CPU at 20,000 pps x 4, balanced, to the kernel",
        "x",
        0.75,
        0.5,
        ("cpu-20000", "mcfwd", "machine"),
        ("cpu-20000", "kernel", "machine"),
        more=False,
    ),
    Check(
        "cpu-idle",
        "mcfwd's processes when nothing flows, 4 ports",
        "% of a core",
        0.5,
        0.2,
        ("cpu-idle", "mcfwd", "processes"),
        more=False,
        scale=100.0,
    ),
    _own("cpu-own-20k", "20,000", 1.5, 1.0),
    _own("cpu-own-80k", "80,000", 0.5, 0.35),
    Check(
        "flows-lookup",
        "10,000 active flows: lookup cost per frame against one flow",
        "x",
        2.0,
        1.3,
        ("flows-lookup", "mcfwd", "10000 flows"),
        ("flows-lookup", "mcfwd", "1 flow"),
        more=False,
    ),
    Check(
        "memory-flows",
        "private memory of a worker beside the ring at 65,536 flows",
        "MB",
        140.0,
        100.0,
        ("memory-flows", "mcfwd", "worker"),
        more=False,
        scale=1e-6,
    ),
)
