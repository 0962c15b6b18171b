"""Highest rates without loss, and what is left of them under overload."""

from bench.checks.model import Check

BEFORE = 0.97
"""Of the C program, what batches of 16,384 frames that were sent at once carried of 1,000 groups, measured by turns.
To the kernel it was 3.1 x there and 4.99 x on another machine: the C program is what carries over between two."""


def to_kernel(name: str, words: str, floor: float, goal: float, scenario: str, contestant: str = "mcfwd") -> Check:
    """Lossless rate of a contestant, of the kernel's."""
    return Check(name, words, "x", floor, goal, (scenario, contestant, "rate"), (scenario, "kernel", "rate"))


RATES: tuple[Check, ...] = (
    to_kernel("throughput-1", "1 port, one group, to the kernel", 1.9, 2.5, "throughput-1"),
    to_kernel("throughput-4", "4 ports, one group, to the kernel", 3.3, 4.5, "throughput-4"),
    to_kernel("throughput-16", "16 ports, one group, to the kernel", 4.3, 7.0, "throughput-16"),
    to_kernel("throughput-30", "30 ports, one group, to the kernel", 5.0, 8.0, "throughput-30"),
    Check(
        "throughput-64",
        "64 ports, one group: datagrams out, to mcfwd's own at 4 ports",
        "x",
        1.35,
        2.0,
        ("throughput-64", "mcfwd", "out"),
        ("throughput-64", "mcfwd at 4 ports", "out"),
    ),
    to_kernel("groups-100", "4 ports, 100 interleaved groups, to the kernel", 3.0, 4.0, "groups-100"),
    to_kernel("groups-1000", "4 ports, 1,000 groups, balanced, to the kernel", 1.7, 2.5, "groups-1000"),
    to_kernel(
        "groups-1000-throughput",
        "4 ports, 1,000 groups, profile throughput, to the kernel",
        4.0,
        5.0,
        "groups-1000",
        "mcfwd-throughput",
    ),
    Check(
        "groups-1000-gain",
        "the same, to what it was when batches were sent at once, by way of the C program",
        "x",
        0.95,
        1.1,
        ("groups-1000", "mcfwd-throughput", "rate"),
        ("groups-1000", "limit", "rate"),
        scale=1 / BEFORE,
    ),
    Check(
        "throughput-1-limit",
        "1 port, one group, to the C program",
        "x",
        0.94,
        0.97,
        ("throughput-1", "mcfwd", "rate"),
        ("throughput-1", "limit", "rate"),
    ),
    Check(
        "overload-4",
        "4 ports, offered twice the lossless rate: delivered, of peak",
        "%",
        85.0,
        95.0,
        ("overload-4", "mcfwd", "of-peak"),
        scale=100.0,
    ),
    Check(
        "overload-16",
        "16 ports, offered twice the lossless rate: delivered, of peak",
        "%",
        85.0,
        95.0,
        ("overload-16", "mcfwd", "of-peak"),
        scale=100.0,
    ),
)
