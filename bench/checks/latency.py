"""From the source's system call to the receiver."""

from bench.checks.model import Check

LOADS = ("latency-20000", "latency-80000")


def _under_load(scenario: str, metric: str) -> Check:
    """Milliseconds beyond the C program, which gathers for the same 2 ms: what a batch's cost adds to the wait."""
    rate = int(scenario.rpartition("-")[2])
    words = f"{metric} latency to the link, {rate:,} pps x 4, balanced, beyond the C program's"
    rows = (scenario, "mcfwd", metric), (scenario, "limit", metric)
    return Check(f"{scenario}-{metric}", words, "ms", 1.0, 0.5, *rows, more=False, scale=1000.0, minus=True)


LATENCY: tuple[Check, ...] = (
    Check(
        "latency-blocking",
        "median latency to the program, 1,000 pps x 4, profile latency, to the kernel",
        "x",
        4.0,
        3.0,
        ("latency-1000", "mcfwd-latency", "application"),
        ("latency-1000", "kernel", "application"),
        more=False,
    ),
    Check(
        "latency-busy",
        "the same with busy polling, to the kernel",
        "x",
        2.0,
        1.3,
        ("latency-1000", "mcfwd-busy", "application"),
        ("latency-1000", "kernel", "application"),
        more=False,
    ),
    Check(
        "latency-balanced",
        "median latency to the program, 1,000 pps x 4, balanced",
        "ms",
        1.5,
        1.0,
        ("latency-1000", "mcfwd", "application"),
        more=False,
        scale=1000.0,
    ),
    *(_under_load(scenario, metric) for scenario in LOADS for metric in ("median", "p99")),
)
