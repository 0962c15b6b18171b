"""What the roles of an interface have in common, named once; who asks for one of them alone compares it. Pure.

`both` is inward and outward, and neither upstream nor downstream: nothing that is learned is told there, nobody is
asked there, and static routes alone lead from there and to there.
"""


def is_inward(role: str) -> bool:
    """Whether streams come in by such an interface, from any network that no other has; we are a host there."""
    return role in ("upstream", "both")


def is_outward(role: str) -> bool:
    """Whether datagrams are meant to leave by such an interface, so that wildcards of static routes mean it."""
    return role in ("downstream", "both")


def arriving_threshold(role: str, threshold: int) -> int:
    """The least TTL of what comes in by such an interface, of which `threshold` says what passes it.

    By one that is `both` everything may come in: its threshold is looked at where datagrams leave, as by the kernel's
    multicast routing. What is a scope for one direction would otherwise keep the other one out.
    """
    return 1 if role == "both" else threshold
