"""When to collect garbage: between two turns, and never so much that it is felt.

The protocol's state is made without reference cycles, so what it lets go of is freed at once and a collection is for
the odd leftover. What has been looked at, and what is too much to be looked at in one go, is frozen: a collection
then never walks over the tables, however large.
"""

import gc

MOST = 20_000           # new objects that a collection may look at


def begin() -> None:
    """From now on only `rest` collects."""
    gc.collect()
    gc.freeze()
    gc.disable()


def rest() -> None:
    """Collect what has come since the last time."""
    if gc.get_count()[0] < MOST:
        gc.collect(0)
    gc.freeze()
