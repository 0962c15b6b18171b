"""All targets by name, and which of them the code is known not to survive yet."""

from fuzz import foreign, plane, targets

TARGETS = targets.TARGETS | plane.TARGETS | foreign.TARGETS
PENDING: tuple[str, ...] = ()
"""Run by name only (`./scripts/fuzz 60 ring`), and not tried with new inputs by the tests."""
DEFAULT = [name for name in TARGETS if name not in PENDING]
