"""How much hypothesis tries: its profiles, and shares of them for tests whose examples cost more or less than most.

`default` is what everybody runs: the same examples every time, so a run fails because of what was changed or not at
all. `thorough` (./scripts/test --slow) looks for news: ten times as many, others in every run but where CI is set.
`mutants` (./scripts/mutants) is no more than notices most faults. A failure prints what repeats it.
"""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", deadline=None, derandomize="CI" in os.environ, print_blob=True,
                          max_examples=1000)
settings.register_profile("mutants", settings.get_profile("default"), max_examples=50)
settings.load_profile("default")        # --hypothesis-profile comes later and wins


def is_thorough() -> bool:
    """Whether more is tried than usual."""
    return settings.default.max_examples > settings.get_profile("default").max_examples


def examples(share: float, **others: int) -> settings:
    """`share` times as many as the profile says; a decorator, or the settings of a state machine."""
    return settings(max_examples=max(round(settings.default.max_examples * share), 1), **others)
